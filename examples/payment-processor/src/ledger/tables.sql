-- What was asked for, what became of it, and what the processor told. Statements here may be run
-- again at any time.

CREATE TABLE IF NOT EXISTS payments (
    id              text COLLATE "C" PRIMARY KEY,
    status          text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'declined', 'succeeded')),
    amount          bigint NOT NULL CHECK (amount > 0),
    currency        text NOT NULL,
    method          text NOT NULL,
    customer_id     text NOT NULL,
    description     text,
    reference       text,
    -- The sum of the refunds that were not refused. Whatever the program does, it is never more
    -- than was taken.
    refunded        bigint NOT NULL DEFAULT 0
                    CONSTRAINT refunded_within_amount CHECK (refunded BETWEEN 0 AND amount),
    idempotency_key text UNIQUE,
    decline_code    text,
    provider_id     text UNIQUE,
    -- Until then, one pod asks the processor; thereafter, any may.
    claimed_until   timestamptz NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),
    CHECK ((status = 'declined') = (decline_code IS NOT NULL)),
    CHECK (status <> 'succeeded' OR provider_id IS NOT NULL),
    CHECK (status = 'succeeded' OR refunded = 0)
);

CREATE INDEX IF NOT EXISTS payments_by_reference ON payments (reference, id) WHERE reference IS NOT NULL;
CREATE INDEX IF NOT EXISTS payments_by_status ON payments (status, id);
CREATE INDEX IF NOT EXISTS payments_by_time ON payments (created_at);
CREATE INDEX IF NOT EXISTS payments_pending ON payments (claimed_until) WHERE status = 'pending';

CREATE TABLE IF NOT EXISTS refunds (
    id              text COLLATE "C" PRIMARY KEY,
    payment_id      text COLLATE "C" NOT NULL REFERENCES payments (id),
    status          text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'succeeded', 'refused')),
    amount          bigint NOT NULL CHECK (amount > 0),
    requested       bigint,
    reason          text,
    idempotency_key text UNIQUE,
    provider_id     text UNIQUE,
    claimed_until   timestamptz NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX IF NOT EXISTS refunds_by_payment ON refunds (payment_id, id);
CREATE INDEX IF NOT EXISTS refunds_pending ON refunds (claimed_until) WHERE status = 'pending';

-- Events that had their effect, so that one that is delivered again has none.
CREATE TABLE IF NOT EXISTS webhook_events (
    id          text PRIMARY KEY,
    received_at timestamptz NOT NULL DEFAULT now()
);

-- Signed messages that were taken, so that one that is sent again by somebody else is refused.
CREATE TABLE IF NOT EXISTS webhook_messages (
    mark        bytea PRIMARY KEY,
    received_at timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX IF NOT EXISTS webhook_events_by_time ON webhook_events (received_at);
CREATE INDEX IF NOT EXISTS webhook_messages_by_time ON webhook_messages (received_at);

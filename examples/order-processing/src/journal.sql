-- An order is one row, from the moment it is taken. Its step is the call that may be under way.
CREATE TABLE IF NOT EXISTS orders (
    id              text PRIMARY KEY,
    idempotency_key text UNIQUE,
    customer_id     text NOT NULL,
    payment_method  text NOT NULL,
    items           jsonb NOT NULL,
    total           bigint,
    currency        text,
    step            text NOT NULL DEFAULT 'checking',
    attempts        integer NOT NULL DEFAULT 0,
    -- Who drives it, and when somebody else may: only the driver that is named writes the next step.
    driver          text NOT NULL,
    due_at          timestamptz NOT NULL,
    payment_id      text,
    refusal         jsonb,
    -- Whether analytics knows of it: waiting, tracked or given_up; and when it is told (again).
    tracking        text NOT NULL DEFAULT 'waiting',
    track_at        timestamptz NOT NULL DEFAULT now(),
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS orders_newest ON orders (created_at DESC, id DESC);
CREATE INDEX IF NOT EXISTS orders_due ON orders (due_at) WHERE step NOT IN ('completed', 'rejected');
CREATE INDEX IF NOT EXISTS orders_untracked ON orders (track_at) WHERE step = 'completed' AND tracking = 'waiting';

CREATE TABLE IF NOT EXISTS events (
    -- The position. Appending is serialised, so positions become visible in order.
    seq         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id          text UNIQUE,
    type        text NOT NULL,
    user_id     text,
    session_id  text,
    properties  jsonb NOT NULL DEFAULT '{}',
    occurred_at timestamptz NOT NULL,
    received_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX IF NOT EXISTS events_by_time ON events (occurred_at);
CREATE INDEX IF NOT EXISTS events_by_type ON events (type, occurred_at);

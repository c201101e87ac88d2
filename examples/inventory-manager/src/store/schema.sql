-- Every statement may be run again. Text is compared byte by byte, as the program does.

CREATE TABLE IF NOT EXISTS items (
    sku      text COLLATE "C" PRIMARY KEY,
    name     text NOT NULL,
    price    bigint NOT NULL CHECK (price >= 0),
    currency text NOT NULL,
    on_hand  bigint NOT NULL,
    -- What active reservations hold, those whose time is over and that nobody has ended yet included.
    reserved bigint NOT NULL DEFAULT 0,
    CHECK (reserved >= 0 AND on_hand >= reserved)
);

CREATE TABLE IF NOT EXISTS reservations (
    id         text COLLATE "C" PRIMARY KEY,
    serial     bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    status     text NOT NULL CHECK (status IN ('active', 'committed', 'released', 'expired')),
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL
);
CREATE INDEX IF NOT EXISTS reservations_active ON reservations (expires_at) WHERE status = 'active';

CREATE TABLE IF NOT EXISTS reservation_lines (
    reservation text COLLATE "C" REFERENCES reservations,
    sku         text COLLATE "C" REFERENCES items,
    quantity    bigint NOT NULL CHECK (quantity > 0),
    PRIMARY KEY (reservation, sku)
);

-- Whoever reads reads through these views: for them a reservation ends at the moment at which its
-- time is over, whether or not that has been written down.

CREATE OR REPLACE VIEW reservations_now AS
SELECT id, serial, created_at, expires_at,
       CASE WHEN status = 'active' AND expires_at <= now() THEN 'expired' ELSE status END AS status,
       (SELECT coalesce(json_agg(json_build_object('sku', sku, 'quantity', quantity) ORDER BY sku), '[]')
          FROM reservation_lines WHERE reservation = id) AS items
  FROM reservations;

CREATE OR REPLACE VIEW stock AS
SELECT items.sku, name, price, currency, on_hand, reserved - overdue AS reserved, overdue
  FROM items
 CROSS JOIN LATERAL (
       SELECT coalesce(sum(quantity), 0)::bigint AS overdue
         FROM reservation_lines JOIN reservations ON id = reservation
        WHERE reservation_lines.sku = items.sku AND status = 'active' AND expires_at <= now()
       ) AS over_time;

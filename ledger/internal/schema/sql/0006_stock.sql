-- The books of the stock: how many chips of a reel, or of none (''), are in an account. Each movement changes two rows, so that all rows
-- together are always zero.
CREATE TABLE IF NOT EXISTS stock_account (
  product TEXT   NOT NULL,
  reel    TEXT   NOT NULL,
  account TEXT   NOT NULL,
  n       BIGINT NOT NULL CHECK (n >= 0 OR account IN ('supplier', 'unissued')),
  PRIMARY KEY (product, reel, account)
);

CREATE INDEX IF NOT EXISTS stock_account_of ON stock_account (account);

-- A booking by its id, and the log entry that it became: asked again it is the same one.
CREATE TABLE IF NOT EXISTS stock_booking (
  id  BYTEA  PRIMARY KEY,
  seq BIGINT NOT NULL
);

-- What stands still by an officer's word, until two let it go on. hash is the word's.
CREATE TABLE IF NOT EXISTS frozen (
  what   TEXT   NOT NULL CHECK (what IN ('order', 'lot', 'line', 'key')),
  name   TEXT   NOT NULL,
  reason TEXT   NOT NULL,
  hash   BYTEA  NOT NULL,
  since  BIGINT NOT NULL,
  PRIMARY KEY (what, name)
);

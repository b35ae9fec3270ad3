-- Statements whose words two officers had deleted: word is the hash of theirs, seq the log entry that names it. product is what the
-- books of the stock still ask of the lot.
-- With them go nonce, canonical and resolved of the order, which no release before this deleted.
CREATE TABLE IF NOT EXISTS forgotten (
  hash    BYTEA  PRIMARY KEY,
  lot     TEXT   NOT NULL,
  word    BYTEA  NOT NULL,
  seq     BIGINT NOT NULL,
  product TEXT   NOT NULL
);

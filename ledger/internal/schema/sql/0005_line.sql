-- What the line did and counted, and what left the house.

CREATE TABLE IF NOT EXISTS presentation (
  line    TEXT   NOT NULL,
  head    BIGINT NOT NULL,
  number  BIGINT NOT NULL,
  lot     TEXT   NOT NULL,
  chip    BYTEA,
  verdict TEXT   NOT NULL,
  reason  TEXT   NOT NULL,
  bin     TEXT   NOT NULL,
  seq     BIGINT NOT NULL,
  PRIMARY KEY (line, head, number)
);

CREATE INDEX IF NOT EXISTS presentation_lot ON presentation (lot, seq);

CREATE TABLE IF NOT EXISTS bin_count (
  lot TEXT   NOT NULL,
  bin TEXT   NOT NULL,
  n   BIGINT NOT NULL CHECK (n >= 0),
  PRIMARY KEY (lot, bin)
);

CREATE TABLE IF NOT EXISTS reason_count (
  lot     TEXT   NOT NULL,
  verdict TEXT   NOT NULL,
  reason  TEXT   NOT NULL,
  n       BIGINT NOT NULL CHECK (n >= 0),
  PRIMARY KEY (lot, verdict, reason)
);

CREATE TABLE IF NOT EXISTS count_report (
  lot    TEXT  NOT NULL,
  source TEXT  NOT NULL,
  body   BYTEA NOT NULL,
  times  BIGINT NOT NULL,
  id     BYTEA NOT NULL,
  explained BOOLEAN NOT NULL,
  PRIMARY KEY (lot, source)
);

CREATE TABLE IF NOT EXISTS export (
  lot      TEXT   NOT NULL,
  what     TEXT   NOT NULL,
  receiver TEXT   NOT NULL,
  hash     BYTEA  NOT NULL,
  seq      BIGINT NOT NULL,
  created  BIGINT NOT NULL,
  PRIMARY KEY (lot, what)
);

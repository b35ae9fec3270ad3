-- Lots, their scripts, and the chips that may go into them.

CREATE TABLE IF NOT EXISTS script_blob (
  hash BYTEA PRIMARY KEY,
  data BYTEA NOT NULL
);

-- Prepared profile packages: templates without a byte of any card.
CREATE TABLE IF NOT EXISTS package_blob (
  hash BYTEA PRIMARY KEY,
  data BYTEA NOT NULL
);

CREATE TABLE IF NOT EXISTS lot (
  lot            TEXT   PRIMARY KEY,
  order_id       TEXT   NOT NULL REFERENCES customer_order (order_id),
  release_hash   BYTEA  NOT NULL,
  state          TEXT   NOT NULL CHECK (state IN ('released', 'running', 'complete', 'closed')),
  good           BIGINT NOT NULL CHECK (good >= 0),
  spares         BIGINT NOT NULL CHECK (spares >= 0),
  next_unit      BIGINT NOT NULL CHECK (next_unit >= 0 AND next_unit <= good + spares),
  next_eid       BIGINT NOT NULL CHECK (next_eid >= 0 AND next_eid <= good + spares),
  open_count     BIGINT NOT NULL CHECK (open_count >= 0),
  good_count     BIGINT NOT NULL CHECK (good_count >= 0 AND good_count <= good),
  lost_count     BIGINT NOT NULL CHECK (lost_count >= 0),
  challenge_next BIGINT NOT NULL CHECK (challenge_next >= 0),
  issued         BIGINT NOT NULL CHECK (issued >= 0),
  approved       BOOLEAN NOT NULL,
  policy         BYTEA,
  script         BYTEA,
  created        BIGINT NOT NULL,
  completed      BIGINT
);

CREATE TABLE IF NOT EXISTS reel (
  reel      TEXT   PRIMARY KEY,
  file_hash BYTEA  NOT NULL,
  product   TEXT   NOT NULL,
  count     BIGINT NOT NULL CHECK (count >= 0),
  created   BIGINT NOT NULL
);

CREATE TABLE IF NOT EXISTS chip (
  chip BYTEA   PRIMARY KEY,
  reel TEXT    NOT NULL REFERENCES reel (reel),
  twin BOOLEAN NOT NULL
);

-- Which vault makes a lot, by the log vault's word; a site that never had two vaults has no rows. A row is never changed: a lot does not move.
CREATE TABLE IF NOT EXISTS assignment (
  lot       TEXT  PRIMARY KEY REFERENCES lot (lot),
  vault     TEXT  NOT NULL,
  statement BYTEA NOT NULL
);

CREATE TABLE push (
  id INTEGER PRIMARY KEY,
  device INTEGER NOT NULL,
  at INTEGER NOT NULL,
  tried INTEGER,
  callback_hash INTEGER NOT NULL,
  content_hash INTEGER NOT NULL,
  callback TEXT,
  content_type TEXT,
  remote TEXT,
  return_ack INTEGER,
  order_key TEXT,
  expires INTEGER,
  joins INTEGER,
  body_sha256 BLOB,
  body BLOB
);
CREATE TABLE event (
  seq INTEGER PRIMARY KEY,
  push INTEGER NOT NULL,
  device INTEGER NOT NULL,
  at INTEGER NOT NULL,
  kind INTEGER NOT NULL,
  state INTEGER,
  level INTEGER,
  reason TEXT,
  who TEXT,
  status INTEGER,
  next INTEGER,
  next_kind INTEGER,
  taken INTEGER,
  answer BLOB
);
CREATE INDEX event_push ON event(push);
CREATE TABLE segment (no INTEGER PRIMARY KEY, last_push INTEGER, last_seq INTEGER, bytes BLOB);
CREATE TABLE device (id INTEGER PRIMARY KEY, name TEXT NOT NULL, done INTEGER, sending INTEGER);
CREATE TABLE open (push INTEGER PRIMARY KEY, device INTEGER, state INTEGER);
CREATE TABLE audit (
  id INTEGER PRIMARY KEY,
  at INTEGER NOT NULL,
  who TEXT NOT NULL,
  verb TEXT NOT NULL,
  push INTEGER,
  reason TEXT,
  hash BLOB NOT NULL
);
CREATE TABLE meta (key TEXT PRIMARY KEY, value);
INSERT INTO device (id, name) VALUES (0, 'self');
INSERT INTO meta (key, value) VALUES ('fence', 0);

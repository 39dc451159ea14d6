-- What goes up. The body is written once and sent as it is until the cloud has said that it has it.
CREATE TABLE upload (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  channel TEXT NOT NULL,
  kind INTEGER NOT NULL,
  push INTEGER,
  remote TEXT NOT NULL,
  content_type TEXT NOT NULL,
  body BLOB,
  at INTEGER NOT NULL,
  state INTEGER NOT NULL,
  closed INTEGER,
  reason TEXT
);
CREATE INDEX upload_waiting ON upload(id) WHERE state = 0;
CREATE INDEX upload_closed ON upload(closed) WHERE closed NOT NULL;
CREATE INDEX upload_kept ON upload(closed) WHERE closed NOT NULL AND body NOT NULL;
-- Tells what this database made from what another one made on the same box.
INSERT INTO meta (key, value) VALUES ('origin', lower(hex(randomblob(8))));
-- What a person must know: an episode a row, open until it is over.
CREATE TABLE alarm (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  kind TEXT NOT NULL,
  subject TEXT NOT NULL,
  at INTEGER NOT NULL,
  text TEXT NOT NULL,
  told INTEGER,
  ended INTEGER
);
CREATE UNIQUE INDEX alarm_open ON alarm(kind, subject) WHERE ended IS NULL;

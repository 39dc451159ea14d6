-- A segment also says which pushes its prints are of, and which answers were given and taken by then.
ALTER TABLE segment ADD COLUMN first_push INTEGER;
ALTER TABLE segment ADD COLUMN last_answer INTEGER;
ALTER TABLE segment ADD COLUMN taken INTEGER;
-- Which numbers of a block of 4096 only wait their turn, by device.
CREATE TABLE cold (block INTEGER PRIMARY KEY, bytes BLOB NOT NULL);

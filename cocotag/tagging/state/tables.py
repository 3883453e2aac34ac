"""The tables of a state, for whoever reads it with other programs.

Version 2 (``PRAGMA user_version``; ``application_id`` tells the file from other databases):

- ``folders``: the absolute path, in the file system's bytes.
- ``files``: of a folder and a name (bytes) the size and modification time that the file had when it was tagged, -1 where that
  cannot be relied on; BLAKE2b of the content, where that was asked for; ``ok`` or why there are no scores; the message.
- ``networks``: SHA-256 of a bundle without its metadata, so that other thresholds are no other network.
- ``scores``: of a file and a network all probabilities, float16, little-endian.
- ``runs`` and ``walks``: what the last runs were asked for, by which bundles (their whole metadata), and the files that they
  met, in order, as runs of the ids of files in one folder, which is named as it was given.
- ``outputs``: what was made of it, so that nobody else's file is replaced: where it is, seen from the folder of the state if it
  is in that, else absolute; its size, modification time and BLAKE2b (all empty while it is written); how it was made.
- ``changes``: how often a file came to something else than before.
"""

VERSION = 2
APPLICATION_ID = 0x436F5467  # "CoTg"

SCHEMA = """
CREATE TABLE folders (id INTEGER PRIMARY KEY, path BLOB NOT NULL UNIQUE);
CREATE TABLE files (
    id INTEGER PRIMARY KEY, folder INTEGER NOT NULL, name BLOB NOT NULL, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    hash BLOB, status TEXT NOT NULL, error TEXT NOT NULL, UNIQUE (folder, name)
);
CREATE TABLE networks (id INTEGER PRIMARY KEY, fingerprint TEXT NOT NULL UNIQUE);
CREATE TABLE scores (
    file INTEGER NOT NULL, network INTEGER NOT NULL, probs BLOB NOT NULL, PRIMARY KEY (file, network)
) WITHOUT ROWID;
CREATE TABLE runs (
    id INTEGER PRIMARY KEY, started TEXT NOT NULL, asked TEXT NOT NULL, models TEXT NOT NULL, ended TEXT, whole INTEGER
);
CREATE TABLE walks (id INTEGER PRIMARY KEY, run INTEGER NOT NULL, folder BLOB NOT NULL, files BLOB NOT NULL);
CREATE TABLE outputs (path BLOB PRIMARY KEY, size INTEGER, mtime_ns INTEGER, hash BLOB, made TEXT NOT NULL);
CREATE TABLE changes (number INTEGER NOT NULL);
INSERT INTO changes VALUES (0)
"""

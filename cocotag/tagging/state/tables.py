"""The tables of a state, documented for other programs that read it.

Version 2 (``PRAGMA user_version``; ``application_id`` distinguishes the file from other databases):

- ``folders``: the absolute path, in the file system's bytes.
- ``files``: for a folder and a name (bytes): the size and modification time when the file was tagged, -1 if unreliable;
  BLAKE2b of the content, if requested; ``ok`` or the error's code; the error's message.
- ``networks``: SHA-256 of a bundle without its metadata, so that bundles that differ only in thresholds share a network.
- ``scores``: for a file and a network: all probabilities, float16, little-endian.
- ``runs`` and ``walks``: the arguments of the last runs, their bundles (with all metadata), and the files that they met, in
  order, as runs of file ids in one folder. The folder is the given path.
- ``outputs``: the outputs written from the state, so that cocotag never replaces other files: path (relative to the folder of
  the state if inside, else absolute); size, modification time and BLAKE2b (all empty during the write); ``how`` of the output.
- ``changes``: how often the result of a file has changed.
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

"""The statements that make the tables of words: FTS5 over what is said of items, kept by triggers.

Neither table keeps the text itself, only its words; the views `row_texts` and `item_names` say what was indexed.
"""

from __future__ import annotations

# The key in `meta` that says that the words of a removed name may still be on the disk.
REMAIN_KEY = "words_remain"

TOKENS = "tokenize = 'porter unicode61 remove_diacritics 2'"

# A path, a title and tags as one text; what stands for an object or a list in JSON is passed over by the tokenizer.
_NAME = (
    "path || ' ' || CASE WHEN json_valid(metadata) THEN coalesce(json_extract(metadata, '$.title'), '') || ' ' || "
    "coalesce(json_extract(metadata, '$.keywords'), '') ELSE '' END"
)
_ADD_TEXT = "INSERT INTO texts (rowid, text) VALUES (new.id, new.text); END"
_DROP_TEXT = "INSERT INTO texts (texts, rowid, text) VALUES ('delete', old.id, old.text); END"
_ADD_NAME = "INSERT INTO names (rowid, name) SELECT id, name FROM item_names WHERE id = new.id; END"
# Before the change: FTS5 has to be told what it indexed.
_DROP_NAME = (
    "INSERT INTO names (names, rowid, name) SELECT 'delete', id, name FROM item_names WHERE id = old.id; "
    f"INSERT OR REPLACE INTO meta (key, value) VALUES ('{REMAIN_KEY}', '1'); END"
)

FILLED = (
    "INSERT INTO texts (texts) VALUES ('rebuild')",
    "INSERT INTO names (names) VALUES ('rebuild')",
)

STATEMENTS = (
    "CREATE VIEW row_texts AS SELECT id, text FROM rows WHERE text <> ''",
    f"CREATE VIRTUAL TABLE texts USING fts5 (text, content = 'row_texts', content_rowid = 'id', {TOKENS})",
    f"CREATE TRIGGER add_text AFTER INSERT ON rows WHEN new.text <> '' BEGIN {_ADD_TEXT}",
    f"CREATE TRIGGER drop_text AFTER DELETE ON rows WHEN old.text <> '' BEGIN {_DROP_TEXT}",
    f"CREATE VIEW item_names AS SELECT id, {_NAME} AS name FROM items",
    f"CREATE VIRTUAL TABLE names USING fts5 (name, content = 'item_names', content_rowid = 'id', {TOKENS})",
    f"CREATE TRIGGER add_name AFTER INSERT ON items BEGIN {_ADD_NAME}",
    f"CREATE TRIGGER drop_name BEFORE DELETE ON items BEGIN {_DROP_NAME}",
    f"CREATE TRIGGER drop_old_name BEFORE UPDATE OF path, metadata ON items BEGIN {_DROP_NAME}",
    f"CREATE TRIGGER add_new_name AFTER UPDATE OF path, metadata ON items BEGIN {_ADD_NAME}",
    *FILLED,
)

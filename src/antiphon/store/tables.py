"""The tables, as the newest migration leaves them. A change here goes with a new file in `migrations/versions`.

Everything is text, whole numbers and bytes, so that SQLite and PostgreSQL keep the same. Times are epoch microseconds,
durations microseconds. A request's and an answer's JSON is bytes: what clients may say (U+0000) is no text to
PostgreSQL.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    text,
)

RUNNING = "status IN ('pending', 'starting', 'started')"
"""What a partial index and every compare-and-set say of a prediction that has not ended."""

metadata = MetaData()

keys = Table(
    "keys",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("account", String(64), nullable=False),
    Column("name", String(200), nullable=False),
    Column("digest", LargeBinary(32), nullable=False, unique=True),
    Column("created", Integer, nullable=False),
    Column("revoked", Integer),
    Column("limits", Text),
)

spending = Table(
    "spending",
    metadata,
    Column("key_id", String(32), primary_key=True),
    Column("window", String(8), primary_key=True),
    Column("start", BigInteger, primary_key=True),
    Column("tokens", BigInteger, nullable=False),
)

versions = Table(
    "versions",
    metadata,
    Column("model", String(200), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("created", Integer, nullable=False),
)

facts = Table(
    "facts",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("value", String(200), nullable=False),
)
"""What every process that shares this database must agree on."""

predictions = Table(
    "predictions",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("account", String(64), nullable=False),
    Column("status", String(12), nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("updated_us", BigInteger, nullable=False),
    Column("model", String(200), nullable=False),
    Column("version", Integer, nullable=False),
    Column("engine", String(32), nullable=False),
    Column("instance", String(32), nullable=False),
    Column("reason", String(16)),
    Column("cancel_us", BigInteger),
    Column("queue_us", BigInteger),
    Column("setup_us", BigInteger),
    Column("execution_us", BigInteger),
    Column("failure_code", String(64)),
    Column("failure_message", Text),
    Column("usage", Text),
    Column("receipt", Text),
    Column("is_streamed", Boolean, nullable=False),
    Column("is_stored", Boolean, nullable=False),
    Column("metadata", Text),
    Column("webhook_url", Text),
    Column("webhook_secret", Text),
    # Last, since SQLite keeps a long row's tail on pages of its own: lists never touch them.
    Column("request", LargeBinary),
    Column("output", LargeBinary),
    Index("predictions_by_age", "account", "created_us", "id"),
    Index("predictions_by_status", "account", "status", "created_us", "id"),
    Index("predictions_running", "instance", sqlite_where=text(RUNNING), postgresql_where=text(RUNNING)),
    Index(
        "predictions_stored",
        *("account", "created_us", "id"),
        sqlite_where=text("is_stored = 1"),
        postgresql_where=text("is_stored"),
    ),
    Index("predictions_kept", "created_us"),
)

labels = Table(
    "labels",
    metadata,
    Column("account", String(64), nullable=False),
    Column("label", LargeBinary(32), nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("prediction", String(32), nullable=False, index=True),
    PrimaryKeyConstraint("account", "label", "created_us", "prediction"),
)
"""By what stored completions are found: a row for the model of each and for each pair of its metadata, so that a filter
finds them without reading any other. A label is only ever compared, so the sha256 of what it stands for is enough."""

idempotency = Table(
    "idempotency",
    metadata,
    Column("account", String(64), primary_key=True),
    Column("key", String(255), primary_key=True),
    Column("digest", LargeBinary(32), nullable=False),
    Column("prediction", String(32), nullable=False),
    Column("created_us", BigInteger, nullable=False, index=True),
)

files = Table(
    "files",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("account", String(64), nullable=False),
    Column("filename", String(255), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("expires", BigInteger, nullable=False),
    Column("content", LargeBinary, nullable=False),
    Index("files_by_age", "account", "created", "id"),
    Index("files_expired", "expires"),
)
"""Files of accounts. Their times are epoch seconds, as clients see them."""

instances = Table(
    "instances",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("beat", BigInteger, nullable=False),
)
"""The server processes that use this database, each with a number that rises while it lives."""

runs = Table(
    "runs",
    metadata,
    Column("model", String(200), primary_key=True),
    Column("predictions", BigInteger, nullable=False),
)
"""How many predictions each model has had, those that retention removed included."""

"""Until when a bundle is locked in the archive's store."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column("bundles", sa.Column("locked_until", sa.BigInteger))


def downgrade() -> None:
    op.drop_column("bundles", "locked_until")

"""The port `Schemas` in this very process: for tests whose schemas are nobody's weapon."""

from batchd.core.json import loads
from batchd.core.schema import Breach, read_schema
from batchd.core.sieve import Looked, look


class NearSchemas:
    def refusal(self, schema: bytes) -> Looked:
        return look(schema)

    async def breach(self, schema: bytes, value: bytes) -> Breach | None:
        read = loads(schema)
        assert isinstance(read, dict)
        return read_schema(read).breach(loads(value))

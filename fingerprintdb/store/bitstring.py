"""Bit strings as psycopg sends them; importing this makes every later connection know them."""

import struct
from dataclasses import dataclass

import psycopg
from psycopg import pq
from psycopg.adapt import Dumper


@dataclass(frozen=True, slots=True)
class BitString:
    """Bytes that Postgres takes as `bit varying`, the highest bit of the first byte first."""

    data: bytes


class _BitStringDumper(Dumper):
    """Sends a bit string in binary: its length in bits, then its bytes."""

    format = pq.Format.BINARY
    oid = psycopg.postgres.types["varbit"].oid

    def dump(self, obj: BitString) -> bytes:
        return struct.pack("!i", len(obj.data) * 8) + obj.data


psycopg.adapters.register_dumper(BitString, _BitStringDumper)

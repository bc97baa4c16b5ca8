"""The commands of the Redis proxy, by how they are spread.

Source: Envoy documentation, "Redis", "Supported commands".
"""

from __future__ import annotations

from typing import Final

# How a command is spread.
SIMPLE: Final = 0  # to the server of its first argument
EVAL: Final = 1  # to the server of its first key, behind the script and the number of keys
OBJECT: Final = 2  # to the server of its second argument
SUM: Final = 3  # one for each key, the answers added up
MGET: Final = 4
MSET: Final = 5
EVERYWHERE: Final = 6  # to every server, the answers joined
TRANSACTION: Final = 7

_SIMPLE: Final = """
append bf.add bf.card bf.exists bf.info bf.insert bf.loadchunk bf.madd bf.mexists bf.reserve bf.scandump bitcount
bitfield bitfield_ro bitpos copy decr decrby dump expire expireat geoadd geodist geohash geopos georadius georadius_ro
georadiusbymember georadiusbymember_ro geosearch geosearchstore get getbit getdel getex getrange getset hdel hexists
hexpire hexpireat hexpiretime hget hgetall hincrby hincrbyfloat hkeys hlen hmget hmset hpersist hpexpire hpexpireat
hpexpiretime hpttl hrandfield hscan hset hsetnx hstrlen httl hvals incr incrby incrbyfloat lindex linsert llen lmove
lpop lpos lpush lpushx lrange lrem lset ltrim msetnx persist pexpire pexpireat pfadd pfcount pfmerge psetex pttl publish
rename renamenx restore rpop rpoplpush rpush rpushx sadd scard sdiff sdiffstore set setbit setex setnx setrange sinter
sinterstore sismember smembers smismember smove sort sort_ro spop srandmember srem sscan strlen substr sunion
sunionstore ttl type xack xadd xautoclaim xclaim xdel xlen xpending xrange xrevrange xtrim zadd zcard zcount zdiff
zdiffstore zincrby zinter zinterstore zlexcount zmscore zpopmax zpopmin zrandmember zrange zrangebylex zrangebyscore
zrangestore zrank zrem zremrangebylex zremrangebyrank zremrangebyscore zrevrange zrevrangebylex zrevrangebyscore
zrevrank zscan zscore zunion zunionstore
"""
_OTHERS: Final[dict[int, str]] = {
    EVAL: "eval evalsha",
    OBJECT: "object",
    SUM: "del exists touch unlink",
    MGET: "mget",
    MSET: "mset",
    EVERYWHERE: "flushall flushdb keys select script",
    TRANSACTION: "multi exec discard watch unwatch",
}
_READS: Final = """
bf.card bf.exists bf.info bf.mexists bf.scandump bitcount bitfield_ro bitpos dump exists geodist geohash geopos
georadius_ro georadiusbymember_ro geosearch get getbit getrange hexists hget hgetall hkeys hlen hmget hscan hstrlen
hvals keys lindex llen lpos lrange mget object pttl scard sdiff sinter sismember smembers smismember sort_ro srandmember
sscan strlen substr sunion touch ttl type xlen xpending xrange xrevrange zcard zcount zlexcount zmscore zrandmember
zrange zrangebylex zrangebyscore zrank zrevrange zrevrangebylex zrevrangebyscore zrevrank zscan zscore
"""


def _table() -> dict[bytes, int]:
    found = {name.encode(): SIMPLE for name in _SIMPLE.split()}
    for kind, names in _OTHERS.items():
        for name in names.split():
            found[name.encode()] = kind
    return found


KINDS: Final[dict[bytes, int]] = _table()
# Commands that change nothing.
READS: Final[frozenset[bytes]] = frozenset(name.encode() for name in _READS.split())

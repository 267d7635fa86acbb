/*
 * The part of the Redis module API that cachefs.so uses, as Redis 7.0 documents
 * it. A module links with nothing of Redis: when it is loaded, the
 * first word of its context is the function by which it finds all others, by
 * their names.
 */
#ifndef REDIS_API_H
#define REDIS_API_H

#include <stddef.h>
#include <stdint.h>

enum { REDISMODULE_OK = 0, REDISMODULE_ERR = 1 };

enum { REDISMODULE_APIVER_1 = 1 };

/* RedisModule_GetContextFlags(): calls that must not block the client. */
enum {
    REDISMODULE_CTX_FLAGS_LUA = 1 << 0,
    REDISMODULE_CTX_FLAGS_MULTI = 1 << 1,
    REDISMODULE_CTX_FLAGS_DENY_BLOCKING = 1 << 21,
};

enum { REDISMODULE_EVENTLOOP_READABLE = 1 };

enum {
    REDISMODULE_EVENT_SHUTDOWN = 5,
    REDISMODULE_EVENT_EVENTLOOP = 15,
    REDISMODULE_SUBEVENT_EVENTLOOP_BEFORE_SLEEP = 0,
    REDISMODULE_SUBEVENT_EVENTLOOP_AFTER_SLEEP = 1,
};

typedef struct RedisModuleCtx RedisModuleCtx;
typedef struct RedisModuleString RedisModuleString;
typedef struct RedisModuleBlockedClient RedisModuleBlockedClient;

typedef struct {
    uint64_t id;
    uint64_t version; /* of the data that the callback gets */
} RedisModuleEvent;

typedef int (*RedisModuleCommand)(RedisModuleCtx *, RedisModuleString **argv, int argc);
typedef void (*RedisModuleRelease)(RedisModuleCtx *, void *private_data);
typedef void (*RedisModuleDisconnect)(RedisModuleCtx *, RedisModuleBlockedClient *);
typedef void (*RedisModuleReadable)(int fd, void *user, int mask);
typedef void (*RedisModuleOneShot)(void *user);
typedef void (*RedisModuleEventCallback)(RedisModuleCtx *, RedisModuleEvent, uint64_t subevent,
                                         void *data);

/* X(returns, name, arguments) for each function. */
#define REDIS_FUNCTIONS(X)                                                                         \
    X(void, SetModuleAttribs, (RedisModuleCtx *, const char *name, int version, int api_version))  \
    X(int, IsModuleNameBusy, (const char *name))                                                   \
    X(int, CreateCommand,                                                                          \
      (RedisModuleCtx *, const char *name, RedisModuleCommand, const char *flags, int first_key,   \
       int last_key, int key_step))                                                                \
    X(void, Log, (RedisModuleCtx *, const char *level, const char *format, ...))                   \
    X(int, WrongArity, (RedisModuleCtx *))                                                         \
    X(int, GetContextFlags, (RedisModuleCtx *))                                                    \
    X(const char *, StringPtrLen, (const RedisModuleString *, size_t *length))                     \
    X(int, StringToLongLong, (const RedisModuleString *, long long *number))                       \
    X(int, ReplyWithError, (RedisModuleCtx *, const char *text))                                   \
    X(int, ReplyWithLongLong, (RedisModuleCtx *, long long number))                                \
    X(int, ReplyWithCString, (RedisModuleCtx *, const char *text))                                 \
    X(int, ReplyWithStringBuffer, (RedisModuleCtx *, const char *bytes, size_t length))            \
    X(int, ReplyWithMap, (RedisModuleCtx *, long pairs))                                           \
    X(RedisModuleBlockedClient *, BlockClient,                                                     \
      (RedisModuleCtx *, RedisModuleCommand reply, RedisModuleCommand time_out,                    \
       RedisModuleRelease release, long long timeout_ms))                                          \
    X(int, UnblockClient, (RedisModuleBlockedClient *, void *private_data))                        \
    X(void, SetDisconnectCallback, (RedisModuleBlockedClient *, RedisModuleDisconnect))            \
    X(void *, GetBlockedClientPrivateData, (RedisModuleCtx *))                                     \
    X(int, SubscribeToServerEvent, (RedisModuleCtx *, RedisModuleEvent, RedisModuleEventCallback)) \
    X(int, EventLoopAdd, (int fd, int mask, RedisModuleReadable, void *user))                      \
    X(int, EventLoopDel, (int fd, int mask))                                                       \
    X(int, EventLoopAddOneShot, (RedisModuleOneShot, void *user))

#define REDIS_DECLARE(returns, name, arguments) extern returns(*RedisModule_##name) arguments;
REDIS_FUNCTIONS(REDIS_DECLARE)
#undef REDIS_DECLARE

/* Returns NULL, or the name of a function that this server does not have. */
const char *redis_api_find(RedisModuleCtx *ctx);

#endif

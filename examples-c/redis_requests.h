/*
 * Requests of Redis clients on a queue of the library. A request blocks its
 * client, never the server: it waits in a list until the event loop is about to
 * sleep; then all that came in this turn go into the queue, and to the kernel by
 * one call, which brings what is cached back at once. What takes longer is told
 * by the queue's descriptor, which is in the event loop.
 *
 * Everything is for Redis's main thread.
 */
#ifndef REDIS_REQUESTS_H
#define REDIS_REQUESTS_H

#include "redis_api.h"

#include <cachefs.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    READ_BYTES_MAX = 64 << 20, /* of one read */
    ERROR_BYTES = 264,         /* of an error's text, with its NUL */
};

enum operation { OPERATION_READ, OPERATION_FILL, OPERATION_STAT };

/* Limits of the load. */
struct request_limits {
    long long depth;      /* requests in the library's queue */
    long long waiting;    /* requests that wait for a file to open, or for the queue */
    long long open_files; /* that are kept open */
    long long recheck_ms; /* after which an open file is opened anew */
    long long memory_mib; /* of buffers */
};

/* What a client wants; the rest of it belongs to redis_requests.c. */
struct wanted {
    enum operation operation;
    uint64_t offset;
    uint64_t length;
};

/* Returns NULL, or what went wrong; requests_close() is to be called after either. */
const char *requests_open(cachefs_cache *cache, cachefs_origin *origin,
                          const struct request_limits *limits);

/*
 * Cancels what is in flight and waits for its end. Afterwards no buffer is
 * written to, and no thread is left but those that wait for an origin.
 */
void requests_close(void);

/* A call into this code is on its way from Redis, so it must stay loaded. */
bool requests_expected(void);

/*
 * Begins what is wanted of the file `path`, and blocks the client until its end;
 * or replies with an error. Returns what a command returns.
 */
int requests_begin(RedisModuleCtx *ctx, const RedisModuleString *path, struct wanted wanted);

/* A callback of REDISMODULE_EVENT_EVENTLOOP. */
void requests_on_event_loop(RedisModuleCtx *ctx, RedisModuleEvent event, uint64_t subevent,
                            void *data);

/* Files that are open, requests that have not ended, and commands that got BUSY. */
unsigned requests_open_files(void);
unsigned requests_in_use(void);
uint64_t requests_refused(void);

/* Replies with the next two of a map. */
void reply_number(RedisModuleCtx *ctx, const char *name, uint64_t number);
void reply_text(RedisModuleCtx *ctx, const char *name, const char *text);

#endif

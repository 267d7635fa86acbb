/*
 * A Redis module that serves cached reads of files:
 *
 *     loadmodule cachefs.so CACHE_DIR ORIGIN_ROOT [KEY=VALUE ...]
 *
 *     CACHEFS.READ path offset length    bytes; fewer at the end of the file
 *     CACHEFS.FILL path [offset length]  copies into the cache; how many are there
 *     CACHEFS.STAT path                  size, times, how much is in the cache
 *     CACHEFS.STATS                      counters of the cache and of the module
 *     CACHEFS.REPORT                     what the cache runs on
 *
 * Here are the commands and the options; redis_requests.c has the way of a read.
 */
#include "redis_requests.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct {
    cachefs_cache *cache;
    cachefs_origin *origin;
    bool requests;
} opened;

/* --- commands ----------------------------------------------------------------- */

static int parse_range(RedisModuleCtx *ctx, RedisModuleString **argv, struct wanted *wanted) {
    long long offset, length;
    if (RedisModule_StringToLongLong(argv[0], &offset) != REDISMODULE_OK || offset < 0 ||
        RedisModule_StringToLongLong(argv[1], &length) != REDISMODULE_OK || length < 0) {
        RedisModule_ReplyWithError(ctx, "ERR offset and length are numbers of bytes, 0 or more");
        return REDISMODULE_ERR;
    }
    wanted->offset = (uint64_t)offset;
    wanted->length = (uint64_t)length;
    return REDISMODULE_OK;
}

static int read_command(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) {
    struct wanted wanted = {.operation = OPERATION_READ};
    char text[ERROR_BYTES];
    if (argc != 4)
        return RedisModule_WrongArity(ctx);
    if (parse_range(ctx, argv + 2, &wanted) != REDISMODULE_OK)
        return REDISMODULE_OK;
    if (wanted.length > READ_BYTES_MAX) {
        snprintf(text, sizeof text, "ERR one read gives at most %d bytes", READ_BYTES_MAX);
        return RedisModule_ReplyWithError(ctx, text);
    }
    return requests_begin(ctx, argv[1], wanted);
}

static int fill_command(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) {
    struct wanted wanted = {.operation = OPERATION_FILL, .length = CACHEFS_TO_END};
    if (argc != 2 && argc != 4)
        return RedisModule_WrongArity(ctx);
    if (argc == 4 && parse_range(ctx, argv + 2, &wanted) != REDISMODULE_OK)
        return REDISMODULE_OK;
    return requests_begin(ctx, argv[1], wanted);
}

static int stat_command(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) {
    const struct wanted wanted = {.operation = OPERATION_STAT};
    return argc != 2 ? RedisModule_WrongArity(ctx) : requests_begin(ctx, argv[1], wanted);
}

static int stats_command(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) {
    cachefs_statistics of = {.struct_size = sizeof of};
    (void)argv;
    if (argc != 1)
        return RedisModule_WrongArity(ctx);
    if (cachefs_stats(opened.cache, &of) != 0)
        return RedisModule_ReplyWithError(ctx, "ERR the cache is closed");
    const struct {
        const char *name;
        uint64_t number;
    } numbers[] = {
        {"hits", of.hits},
        {"misses", of.misses},
        {"bypasses", of.bypasses},
        {"errors", of.errors},
        {"bytes_from_cache", of.bytes_from_cache},
        {"bytes_from_origin", of.bytes_from_origin},
        {"origin_reads", of.origin_reads},
        {"chunks_stored", of.chunks_stored},
        {"store_errors", of.store_errors},
        {"stale_fetches", of.stale_fetches},
        {"evictions", of.evictions},
        {"cached_bytes", of.cached_bytes},
        {"cached_objects", of.cached_objects},
        {"in_flight", of.in_flight},
        {"open_files", requests_open_files()},
        {"requests", requests_in_use()},
        {"busy", requests_refused()},
    };
    enum { NUMBERS = sizeof numbers / sizeof numbers[0] };
    RedisModule_ReplyWithMap(ctx, NUMBERS);
    for (int i = 0; i < NUMBERS; i++)
        reply_number(ctx, numbers[i].name, numbers[i].number);
    return REDISMODULE_OK;
}

static int report_command(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) {
    cachefs_report report = {.struct_size = sizeof report};
    (void)argv;
    if (argc != 1)
        return RedisModule_WrongArity(ctx);
    if (cachefs_cache_report(opened.cache, &report) != 0)
        return RedisModule_ReplyWithError(ctx, "ERR the cache is closed");
    RedisModule_ReplyWithMap(ctx, 6);
    reply_text(ctx, "version", cachefs_version_string());
    reply_text(ctx, "engine", report.engine == CACHEFS_ENGINE_URING ? "uring" : "psync");
    reply_text(ctx, "engine_reason", report.engine_reason);
    reply_number(ctx, "ring_flags", report.ring_flags);
    reply_text(ctx, "state", report.state == CACHEFS_STATE_NORMAL ? "normal" : "pass-through");
    reply_text(ctx, "state_reason", report.state_reason);
    return REDISMODULE_OK;
}

/* --- options -------------------------------------------------------------------- */

/* The value of a key of this module: returns NULL, or what is wrong with it. */
static const char *set_number(const char *key, const char *text, long long *value, long long min,
                              long long max) {
    static char wrong[ERROR_BYTES];
    char *end;
    errno = 0;
    long long number = strtoll(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || number < min || number > max) {
        snprintf(wrong, sizeof wrong, "%s is outside %lld..%lld: \"%s\"", key, min, max, text);
        return wrong;
    }
    *value = number;
    return NULL;
}

/* Keys that begin with redis_ are this module's, all others the library's. */
static const char *set_option(const char *argument, struct request_limits *limits,
                              cachefs_cache_options *options) {
    const struct {
        const char *key;
        long long *value, min, max;
    } keys[] = {
        {"redis_depth", &limits->depth, 1, 4096},
        {"redis_waiting", &limits->waiting, 0, 65536},
        {"redis_open_files", &limits->open_files, 1, 1024},
        {"redis_recheck_ms", &limits->recheck_ms, 0, 86400000},
        {"redis_memory_mib", &limits->memory_mib, READ_BYTES_MAX >> 20, 1 << 20},
    };
    char key[64];
    const char *equals = strchr(argument, '=');
    if (equals == NULL || (size_t)(equals - argument) >= sizeof key)
        return "the arguments after ORIGIN_ROOT are of the form KEY=VALUE";
    snprintf(key, sizeof key, "%.*s", (int)(equals - argument), argument);
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        if (strcmp(key, keys[i].key) == 0)
            return set_number(key, equals + 1, keys[i].value, keys[i].min, keys[i].max);
    }
    return cachefs_cache_options_set(options, key, equals + 1) == 0 ? NULL : cachefs_last_error();
}

/* --- loading and unloading ------------------------------------------------------- */

/* On any thread, as Redis allows for this function. */
static void on_message(void *user, uint32_t level, const char *message) {
    (void)user;
    RedisModule_Log(NULL, level <= CACHEFS_LOG_WARN ? "warning" : "notice", "cachefs: %s", message);
}

static const char *open_all(RedisModuleString **argv, int argc) {
    struct request_limits limits = {.depth = 256,
                                    .waiting = 1024,
                                    .open_files = 64,
                                    .recheck_ms = 1000,
                                    .memory_mib = 256};
    cachefs_cache_options options;
    if (argc < 2)
        return "usage: loadmodule cachefs.so CACHE_DIR ORIGIN_ROOT [KEY=VALUE ...]";
    if (cachefs_cache_options_init(&options, sizeof options) != 0)
        return cachefs_last_error();
    for (int i = 2; i < argc; i++) {
        const char *argument = RedisModule_StringPtrLen(argv[i], NULL);
        const char *wrong = set_option(argument, &limits, &options);
        if (wrong != NULL)
            return wrong;
    }
    options.log = on_message;
    const char *cache_dir = RedisModule_StringPtrLen(argv[0], NULL);
    const char *root = RedisModule_StringPtrLen(argv[1], NULL);
    if (cachefs_cache_open(cache_dir, &options, &opened.cache) != 0 ||
        cachefs_origin_open_dir(opened.cache, root, NULL, &opened.origin) != 0)
        return cachefs_last_error();
    opened.requests = true;
    return requests_open(opened.cache, opened.origin, &limits);
}

static void close_all(RedisModuleCtx *ctx) {
    if (opened.requests)
        requests_close();
    cachefs_origin_close(opened.origin);
    if (opened.cache == NULL)
        return;
    if (cachefs_cache_close(opened.cache) == 0)
        RedisModule_Log(ctx, "notice", "the cache is closed");
    else
        RedisModule_Log(ctx, "warning", "the cache is not closed: %s", cachefs_last_error());
}

/* With clients blocked perhaps; nobody answers them any more. */
static void on_shutdown(RedisModuleCtx *ctx, RedisModuleEvent event, uint64_t subevent,
                        void *data) {
    (void)event;
    (void)subevent;
    (void)data;
    close_all(ctx);
}

static const char *register_all(RedisModuleCtx *ctx) {
    static const struct {
        const char *name;
        RedisModuleCommand command;
        const char *flags;
    } commands[] = {
        {"cachefs.read", read_command, "readonly deny-script blocking"},
        {"cachefs.fill", fill_command, "readonly deny-script blocking"},
        {"cachefs.stat", stat_command, "readonly deny-script blocking"},
        {"cachefs.stats", stats_command, "readonly fast"},
        {"cachefs.report", report_command, "readonly fast"},
    };
    const RedisModuleEvent event_loop = {REDISMODULE_EVENT_EVENTLOOP, 1};
    const RedisModuleEvent shut_down = {REDISMODULE_EVENT_SHUTDOWN, 1};
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        if (RedisModule_CreateCommand(ctx, commands[i].name, commands[i].command, commands[i].flags,
                                      0, 0, 0) != REDISMODULE_OK)
            return commands[i].name;
    }
    /* Last: Redis takes the commands of a module back that does not load, but not these. */
    if (RedisModule_SubscribeToServerEvent(ctx, event_loop, requests_on_event_loop) !=
            REDISMODULE_OK ||
        RedisModule_SubscribeToServerEvent(ctx, shut_down, on_shutdown) != REDISMODULE_OK)
        return "events of the server";
    return NULL;
}

__attribute__((visibility("default"))) int RedisModule_OnLoad(RedisModuleCtx *ctx,
                                                              RedisModuleString **argv, int argc);
__attribute__((visibility("default"))) int RedisModule_OnUnload(RedisModuleCtx *ctx);

int RedisModule_OnLoad(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) {
    const char *missing = redis_api_find(ctx);
    if (missing != NULL) {
        /* Perhaps a function that writes the log. */
        fprintf(stderr, "cachefs: Redis 7.0 or newer is needed: there is no %s\n", missing);
        return REDISMODULE_ERR;
    }
    /* What is loaded twice has its data once: touch nothing of it. */
    if (RedisModule_IsModuleNameBusy("cachefs"))
        return REDISMODULE_ERR;
    RedisModule_SetModuleAttribs(ctx, "cachefs", 1, REDISMODULE_APIVER_1);
    const char *wrong = open_all(argv, argc);
    if (wrong == NULL)
        wrong = register_all(ctx);
    if (wrong == NULL)
        return REDISMODULE_OK;
    RedisModule_Log(ctx, "warning", "not loaded: %s", wrong);
    close_all(ctx);
    return REDISMODULE_ERR;
}

/* Redis asks only when no client is blocked, so nothing is in flight. */
int RedisModule_OnUnload(RedisModuleCtx *ctx) {
    if (requests_expected())
        return REDISMODULE_ERR;
    close_all(ctx);
    return REDISMODULE_OK;
}

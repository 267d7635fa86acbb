#include "redis_requests.h"
#include "open_files.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    SMALL_BYTES = 16 << 10, /* reads up to here go into registered memory */
    BATCH = 256,            /* completions fetched at once */
};

struct request {
    struct request *next;             /* in one of the lists */
    RedisModuleBlockedClient *client; /* until it is told */
    struct open_file *file;           /* until the request is in the queue */
    struct wanted wanted;
    bool queued; /* in the library's queue */
    bool gone;   /* the client is not there any more */
    bool small;  /* `buffer` is one of the registered ones */
    void *buffer;
    int64_t result;
    char error[ERROR_BYTES];
    /* Of OPERATION_STAT. */
    cachefs_file_info info;
    cachefs_residency residency;
};

static struct {
    struct request_limits limits;
    cachefs_queue *queue;
    int queue_fd; /* in Redis's event loop, or -1 */
    struct open_files files;

    struct request *requests; /* as many as may be at a time */
    uint32_t count;
    uint32_t in_use;
    struct request *unused;
    struct request *waiting, *last_waiting; /* for a place in the queue, or for memory */
    uint64_t refused;

    void *small_memory;
    void **small_buffers; /* those that are free */
    size_t small_count;
    uint64_t large_bytes; /* in other buffers */

    bool readable;    /* the queue's descriptor was */
    bool turning;     /* the end of this turn of the event loop is still to come */
    bool turn_wanted; /* a call that makes the event loop turn is on its way */
} state = {.queue_fd = -1};

unsigned requests_open_files(void) {
    return state.files.open;
}

unsigned requests_in_use(void) {
    return state.in_use;
}

uint64_t requests_refused(void) {
    return state.refused;
}

bool requests_expected(void) {
    return state.turn_wanted;
}

/* --- turns of the event loop -------------------------------------------------- */

static void on_turn(void *user) {
    (void)user;
    state.turn_wanted = false;
}

/* Sees to it that what waits is looked at soon, and not only at the next event. */
static void want_turn(void) {
    if (!state.turning && !state.turn_wanted)
        state.turn_wanted = RedisModule_EventLoopAddOneShot(on_turn, NULL) == REDISMODULE_OK;
}

static void append_waiting(struct request *request) {
    request->next = NULL;
    if (state.waiting == NULL)
        state.waiting = request;
    else
        state.last_waiting->next = request;
    state.last_waiting = request;
}

/* --- memory of reads ------------------------------------------------------------ */

/* 0, -ENOMEM, or -EAGAIN: there is none until other requests give some back. */
static int take_buffer(struct request *request) {
    uint64_t length = request->wanted.length;
    uint64_t limit = (uint64_t)state.limits.memory_mib << 20;
    if (length <= SMALL_BYTES && state.small_count > 0) {
        request->buffer = state.small_buffers[--state.small_count];
        request->small = true;
        return 0;
    }
    if (state.large_bytes + length > limit)
        return -EAGAIN;
    request->buffer = malloc(length + 1); /* never of 0 bytes, which may be NULL */
    if (request->buffer == NULL)
        return -ENOMEM;
    state.large_bytes += length;
    return 0;
}

static void give_buffer_back(struct request *request) {
    if (request->small) {
        state.small_buffers[state.small_count++] = request->buffer;
    } else if (request->buffer != NULL) {
        state.large_bytes -= request->wanted.length;
        free(request->buffer);
    }
}

/* --- the end of a request -------------------------------------------------------- */

static void leave_file(struct request *request) {
    if (request->file != NULL)
        open_files_put(&state.files, request->file);
    request->file = NULL;
}

/* on_reply answers the client, if it is still there; on_release follows in any case. */
static void finish(struct request *request, int64_t result) {
    RedisModuleBlockedClient *client = request->client;
    leave_file(request);
    request->client = NULL;
    request->result = result;
    RedisModule_UnblockClient(client, request);
}

static void fail(struct request *request, int64_t result, const char *text) {
    snprintf(request->error, sizeof request->error, "ERR %.*s", OPEN_FILE_ERROR_BYTES, text);
    finish(request, result);
}

void reply_number(RedisModuleCtx *ctx, const char *name, uint64_t number) {
    RedisModule_ReplyWithCString(ctx, name);
    RedisModule_ReplyWithLongLong(ctx, (long long)number);
}

void reply_text(RedisModuleCtx *ctx, const char *name, const char *text) {
    RedisModule_ReplyWithCString(ctx, name);
    RedisModule_ReplyWithCString(ctx, text);
}

static void reply_stat(RedisModuleCtx *ctx, const struct request *request) {
    char version[24];
    snprintf(version, sizeof version, "%016" PRIx64, request->info.version);
    RedisModule_ReplyWithMap(ctx, 7);
    reply_number(ctx, "size", request->info.size);
    reply_number(ctx, "mtime_ns", (uint64_t)request->info.mtime_ns);
    reply_number(ctx, "ctime_ns", (uint64_t)request->info.ctime_ns);
    reply_number(ctx, "inode", request->info.inode);
    reply_text(ctx, "version", version);
    reply_number(ctx, "bytes_present", request->residency.bytes_present);
    reply_number(ctx, "complete", request->residency.complete);
}

static int on_reply(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) {
    const struct request *request = RedisModule_GetBlockedClientPrivateData(ctx);
    (void)argv;
    (void)argc;
    if (request->result < 0)
        RedisModule_ReplyWithError(ctx, request->error);
    else if (request->wanted.operation == OPERATION_READ)
        RedisModule_ReplyWithStringBuffer(ctx, request->buffer, (size_t)request->result);
    else if (request->wanted.operation == OPERATION_FILL)
        RedisModule_ReplyWithLongLong(ctx, request->result);
    else
        reply_stat(ctx, request);
    return REDISMODULE_OK;
}

static void on_release(RedisModuleCtx *ctx, void *private_data) {
    struct request *request = private_data;
    (void)ctx;
    give_buffer_back(request);
    memset(request, 0, sizeof *request);
    request->next = state.unused;
    state.unused = request;
    state.in_use--;
    if (state.waiting != NULL)
        want_turn();
}

/* Nobody wants the bytes any more; but they may be on their way into the buffer. */
static void on_disconnect(RedisModuleCtx *ctx, RedisModuleBlockedClient *client) {
    (void)ctx;
    for (uint32_t i = 0; i < state.count; i++) {
        struct request *request = &state.requests[i];
        if (request->client != client)
            continue;
        request->gone = true;
        if (request->queued && cachefs_queue_cancel(state.queue, i) > 0) {
            state.readable = true;
            want_turn();
        }
    }
}

/* --- into the queue, and out of it ------------------------------------------------ */

/* So that a long read of a short file takes no more memory than it needs. */
static int clip(struct request *request) {
    struct wanted *wanted = &request->wanted;
    cachefs_file_info info = {.struct_size = sizeof info};
    int32_t result = cachefs_file_stat(request->file->file, &info);
    uint64_t left = info.size > wanted->offset ? info.size - wanted->offset : 0;
    if (wanted->length > left)
        wanted->length = left;
    return result;
}

static int start_read(struct request *request) {
    const struct wanted *wanted = &request->wanted;
    if (request->buffer == NULL) {
        int result = clip(request);
        if (result == 0)
            result = take_buffer(request);
        if (result != 0)
            return result;
    }
    return cachefs_queue_read(state.queue, request->file->file, request->buffer, wanted->length,
                              wanted->offset, (uint64_t)(request - state.requests));
}

static int start_fill(struct request *request) {
    return cachefs_queue_fill(state.queue, request->file->file, request->wanted.offset,
                              request->wanted.length, (uint64_t)(request - state.requests));
}

static int stat_file(struct request *request) {
    request->info.struct_size = sizeof request->info;
    request->residency.struct_size = sizeof request->residency;
    int32_t result = cachefs_file_stat(request->file->file, &request->info);
    return result != 0 ? result : cachefs_file_residency(request->file->file, &request->residency);
}

/* 0: it is in the queue, or at its end; -EAGAIN: there is no room now; else what failed. */
static int start(struct request *request) {
    int result = 0;
    if (request->gone) {
        finish(request, -ECANCELED);
    } else if (request->wanted.operation == OPERATION_STAT) {
        result = stat_file(request);
        if (result == 0)
            finish(request, 0);
    } else {
        bool read = request->wanted.operation == OPERATION_READ;
        result = read ? start_read(request) : start_fill(request);
        request->queued = result == 0;
        if (request->queued)
            leave_file(request); /* The queue keeps the file from here on. */
    }
    return result;
}

static void start_waiting(void) {
    while (state.waiting != NULL) {
        struct request *request = state.waiting;
        struct request *next = request->next;
        int result = start(request);
        if (result == -EAGAIN)
            return;
        state.waiting = next;
        if (result == -ENOMEM)
            fail(request, result, "there is no memory for so many bytes");
        else if (result != 0)
            fail(request, result, cachefs_last_error());
    }
}

static void completed(const cachefs_completion *completion) {
    struct request *request = &state.requests[completion->tag];
    request->queued = false;
    /* Completions have no text of their own. */
    if (completion->result < 0)
        snprintf(request->error, sizeof request->error, "ERR %s: %s",
                 request->wanted.operation == OPERATION_READ ? "read" : "copy into the cache",
                 strerror((int)-completion->result));
    finish(request, completion->result);
}

/* All of this turn's requests to the kernel, and all that has ended to the clients. */
static void end_turn(void) {
    cachefs_completion completions[BATCH];
    int32_t count;
    if (state.waiting == NULL && !state.readable)
        return;
    state.readable = false;
    do {
        start_waiting();
        count = cachefs_queue_wait(state.queue, completions, 0, BATCH, 0);
        for (int32_t i = 0; i < count; i++)
            completed(&completions[i]);
    } while (count == BATCH || (count > 0 && state.waiting != NULL));
    if (count < 0)
        RedisModule_Log(NULL, "warning", "cachefs: %s", cachefs_last_error());
}

void requests_on_event_loop(RedisModuleCtx *ctx, RedisModuleEvent event, uint64_t subevent,
                            void *data) {
    (void)ctx;
    (void)event;
    (void)data;
    state.turning = subevent == REDISMODULE_SUBEVENT_EVENTLOOP_AFTER_SLEEP;
    if (!state.turning)
        end_turn();
}

/* Only takes a note: the end of the turn is near, and serves everything at once. */
static void on_readable(int fd, void *user, int mask) {
    (void)fd;
    (void)user;
    (void)mask;
    state.readable = true;
}

/* Files that were asked for are open, or could not be opened. */
static void on_opened(void *user) {
    struct open_file *file;
    (void)user;
    while ((file = open_files_opened(&state.files)) != NULL) {
        struct request *request = file->waiting;
        file->waiting = NULL;
        while (request != NULL) {
            struct request *next = request->next;
            if (file->state == FILE_OPEN)
                append_waiting(request);
            else
                fail(request, file->result, file->error);
            request = next;
        }
    }
    want_turn();
}

/* On an opener's thread, as Redis allows for this function. */
static void wake(void) {
    RedisModule_EventLoopAddOneShot(on_opened, NULL);
}

/* --- new requests ------------------------------------------------------------------- */

static int busy(RedisModuleCtx *ctx, const char *what, long long limit) {
    char text[ERROR_BYTES];
    state.refused++;
    snprintf(text, sizeof text, "BUSY all %lld places for %s are taken: try again later", limit,
             what);
    return RedisModule_ReplyWithError(ctx, text);
}

int requests_begin(RedisModuleCtx *ctx, const RedisModuleString *path, struct wanted wanted) {
    const int waitless = REDISMODULE_CTX_FLAGS_MULTI | REDISMODULE_CTX_FLAGS_LUA |
                         REDISMODULE_CTX_FLAGS_DENY_BLOCKING;
    size_t length;
    const char *text = RedisModule_StringPtrLen(path, &length);
    struct request *request = state.unused;
    if (RedisModule_GetContextFlags(ctx) & waitless)
        return RedisModule_ReplyWithError(
            ctx, "ERR files are not read in transactions and scripts, which cannot wait");
    if (strlen(text) != length)
        return RedisModule_ReplyWithError(ctx, "ERR there is a zero byte in the path");
    if (request == NULL)
        return busy(ctx, "requests (redis_depth + redis_waiting)", state.count);
    struct open_file *file = open_files_get(&state.files, text);
    if (file == NULL)
        return busy(ctx, "open files (redis_open_files)", state.limits.open_files);

    state.unused = request->next;
    state.in_use++;
    request->wanted = wanted;
    request->file = file;
    request->client = RedisModule_BlockClient(ctx, on_reply, NULL, on_release, 0);
    RedisModule_SetDisconnectCallback(request->client, on_disconnect);
    if (file->state == FILE_OPENING) {
        request->next = file->waiting;
        file->waiting = request;
    } else {
        append_waiting(request);
        want_turn();
    }
    return REDISMODULE_OK;
}

/* --- opening and closing ------------------------------------------------------------ */

static bool make_places(void) {
    size_t depth = (size_t)state.limits.depth;
    state.count = (uint32_t)(state.limits.depth + state.limits.waiting);
    state.requests = calloc(state.count, sizeof *state.requests);
    state.small_buffers = calloc(depth, sizeof *state.small_buffers);
    if (state.requests == NULL || state.small_buffers == NULL)
        return false;
    for (uint32_t i = state.count; i-- > 0;) {
        state.requests[i].next = state.unused;
        state.unused = &state.requests[i];
    }
    for (; state.small_count < depth; state.small_count++)
        state.small_buffers[state.small_count] =
            (char *)state.small_memory + state.small_count * SMALL_BYTES;
    return true;
}

const char *requests_open(cachefs_cache *cache, cachefs_origin *origin,
                          const struct request_limits *limits) {
    cachefs_queue_options options = {.struct_size = sizeof options,
                                     .depth = (uint32_t)limits->depth};
    uint64_t small_bytes = (uint64_t)limits->depth * SMALL_BYTES;
    state.limits = *limits;
    int result = open_files_init(&state.files, origin, (unsigned)limits->open_files,
                                 limits->recheck_ms, wake);
    if (result != 0)
        return strerror(-result);
    if (cachefs_buffer_alloc(cache, small_bytes, &state.small_memory) != 0 ||
        cachefs_queue_open(cache, &options, &state.queue) != 0)
        return cachefs_last_error();
    if (!make_places())
        return "there is no memory for so many requests";
    int fd = cachefs_queue_fd(state.queue);
    if (fd < 0)
        return cachefs_last_error();
    if (RedisModule_EventLoopAdd(fd, REDISMODULE_EVENTLOOP_READABLE, on_readable, NULL) !=
        REDISMODULE_OK)
        return strerror(errno);
    state.queue_fd = fd;
    return NULL;
}

void requests_close(void) {
    if (state.queue_fd >= 0)
        RedisModule_EventLoopDel(state.queue_fd, REDISMODULE_EVENTLOOP_READABLE);
    open_files_destroy(&state.files);
    cachefs_queue_close(state.queue);
    for (uint32_t i = 0; i < state.count && state.requests != NULL; i++) {
        if (!state.requests[i].small)
            free(state.requests[i].buffer);
    }
    free(state.requests);
    free(state.small_buffers);
}

/*
 * An origin made of callbacks for the C tests: every file has the same size and
 * content, every call is counted, and reads can be made to fail, to be short,
 * or to stay unanswered until the test lets them go.
 */
#ifndef T_ORIGIN_H
#define T_ORIGIN_H

#include "t.h"

enum { T_HELD_MAX = 64 };

/* Every byte that was asked for; see t_origin.result. */
#define T_ALL INT64_MIN

/* One read that was not answered yet. */
struct t_held {
    cachefs_origin_token *token;
    void *buffer;
    uint64_t length;
    uint64_t offset;
};

struct t_origin {
    uint64_t size;
    uint64_t seed;
    int64_t mtime_ns;
    /* Version tag; NULL: none. */
    const char *tag;
    /* What stat returns for the path "missing" is -ENOENT, else this. */
    atomic_int stat_result;
    /* What read returns: not 0 refuses the read. */
    atomic_int read_result;
    /* What a read completes with: T_ALL, or a count or an errno. */
    _Atomic int64_t result;
    /* Reads wait for t_origin_release(). */
    atomic_bool hold;
    /* Calls until now. */
    atomic_uint stats;
    atomic_uint reads;
    atomic_uint frees;
    pthread_mutex_t lock;
    struct t_held held[T_HELD_MAX];
    unsigned held_count;
};

/* Size and seed as given; last changed long ago, so that it is cached at once. */
T_HELPER void t_origin_init(struct t_origin *origin, uint64_t size, uint64_t seed) {
    memset(origin, 0, sizeof *origin);
    origin->size = size;
    origin->seed = seed;
    origin->mtime_ns = INT64_C(1000000000) * 1000000000;
    origin->result = T_ALL;
    pthread_mutex_init(&origin->lock, NULL);
}

T_HELPER int32_t t_origin_stat(void *user, const char *path, cachefs_origin_attr *attr) {
    struct t_origin *origin = user;
    atomic_fetch_add(&origin->stats, 1);
    if (strcmp(path, "missing") == 0)
        return -ENOENT;
    if (origin->stat_result != 0)
        return origin->stat_result;
    attr->size = origin->size;
    attr->mtime_ns = origin->mtime_ns;
    attr->ctime_ns = origin->mtime_ns;
    if (origin->tag != NULL) {
        attr->tag_length = (uint32_t)strlen(origin->tag);
        memcpy(attr->tag, origin->tag, attr->tag_length);
    }
    return 0;
}

/* Answers one read, and returns what cachefs_origin_complete() says to that. */
T_HELPER int t_origin_answer(struct t_origin *origin, const struct t_held *read, int64_t result) {
    int64_t length = result == T_ALL ? (int64_t)read->length : result;
    if (length > 0)
        t_content(read->buffer, (uint64_t)length, origin->seed, read->offset);
    return cachefs_origin_complete(read->token, length);
}

/* Keeps a read if reads wait. */
T_HELPER bool t_origin_keep(struct t_origin *origin, const struct t_held *read) {
    pthread_mutex_lock(&origin->lock);
    bool keep = origin->hold;
    if (keep) {
        CHECK(origin->held_count < T_HELD_MAX);
        origin->held[origin->held_count++] = *read;
    }
    pthread_mutex_unlock(&origin->lock);
    return keep;
}

T_HELPER int32_t t_origin_read(void *user, const char *path, const cachefs_origin_attr *version,
                               void *buffer, uint64_t length, uint64_t offset,
                               cachefs_origin_token *token) {
    struct t_origin *origin = user;
    struct t_held read = {token, buffer, length, offset};
    (void)path;
    CHECK(version->size == origin->size && offset + length <= origin->size);
    atomic_fetch_add(&origin->reads, 1);
    if (origin->read_result != 0)
        return origin->read_result;
    if (!t_origin_keep(origin, &read))
        CHECK_EQ(t_origin_answer(origin, &read, origin->result), 0);
    return 0;
}

T_HELPER void t_origin_free(void *user) {
    struct t_origin *origin = user;
    atomic_fetch_add(&origin->frees, 1);
}

T_HELPER unsigned t_origin_held(struct t_origin *origin) {
    pthread_mutex_lock(&origin->lock);
    unsigned count = origin->held_count;
    pthread_mutex_unlock(&origin->lock);
    return count;
}

/* Takes one read out of those that wait, oldest first. */
T_HELPER struct t_held t_origin_take(struct t_origin *origin) {
    pthread_mutex_lock(&origin->lock);
    CHECK(origin->held_count > 0);
    struct t_held read = origin->held[0];
    origin->held_count--;
    memmove(origin->held, origin->held + 1, origin->held_count * sizeof origin->held[0]);
    pthread_mutex_unlock(&origin->lock);
    return read;
}

/* Answers what waits, and everything from now on, at once. */
T_HELPER void t_origin_release(struct t_origin *origin) {
    pthread_mutex_lock(&origin->lock);
    origin->hold = false;
    pthread_mutex_unlock(&origin->lock);
    while (t_origin_held(origin) > 0) {
        struct t_held read = t_origin_take(origin);
        CHECK_EQ(t_origin_answer(origin, &read, origin->result), 0);
    }
}

T_HELPER cachefs_origin_ops t_origin_ops(void) {
    return (cachefs_origin_ops){
        .struct_size = sizeof(cachefs_origin_ops),
        .stat = t_origin_stat,
        .read = t_origin_read,
        .free = t_origin_free,
    };
}

/* Opens it under the name "memory". */
T_HELPER cachefs_origin *t_origin_open(cachefs_cache *cache, struct t_origin *origin) {
    cachefs_origin_ops ops = t_origin_ops();
    cachefs_origin *opened = NULL;
    CHECK_OK(cachefs_origin_open(cache, "memory", &ops, origin, NULL, &opened));
    CHECK(opened != NULL);
    return opened;
}

#endif /* T_ORIGIN_H */

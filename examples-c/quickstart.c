/*
 * quickstart ORIGIN CACHE_DIR LIST RATE_MB SUMS1 SUMS2
 *
 * Reads the files of the directory ORIGIN that LIST names, one a line, twice
 * through a cache in CACHE_DIR, and writes their SHA-256 sums of each pass in
 * the format of sha256sum. The origin is slowed down to RATE_MB megabytes a
 * second, as if it were far away. Shows three ways to read: blocking calls for
 * small files, batches on a queue for larger ones, and a copy-fill in advance
 * for the largest.
 */
#include "slow_origin.h"

#include <inttypes.h>
#include <openssl/evp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    PART = 256 << 10, /* bytes of one read */
    BATCH = 32,       /* reads of one batch; a batch is hashed when it is complete */
};

/* How the files of a list are read. */
struct counts {
    unsigned blocking;
    unsigned queued;
    unsigned filled;
    uint64_t bytes;
};

struct list {
    char **paths;
    size_t count;
    const char *largest;
};

struct session {
    cachefs_cache *cache;
    cachefs_origin *origin;
    cachefs_queue *queue;
    unsigned char *buffer; /* of BATCH * PART bytes */
    EVP_MD_CTX *digest;
    struct counts counts;
};

/* What one pass cost. */
struct pass {
    double seconds;
    cachefs_statistics statistics;
};

static void fail(const char *what) {
    fprintf(stderr, "quickstart: %s: %s\n", what, cachefs_last_error());
    exit(1);
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static double megabytes(uint64_t bytes) {
    return (double)bytes / 1e6;
}

/* --- three ways to read ----------------------------------------------------- */

static void hash(struct session *session, const void *bytes, uint64_t length) {
    if (EVP_DigestUpdate(session->digest, bytes, length) != 1)
        fail("EVP_DigestUpdate");
}

/* One call after another, each until its bytes are there. */
static void read_blocking(struct session *session, cachefs_file *file, const char *path,
                          uint64_t size) {
    for (uint64_t offset = 0; offset < size;) {
        int64_t got = cachefs_read(file, session->buffer, PART, offset);
        if (got <= 0)
            fail(path);
        hash(session, session->buffer, (uint64_t)got);
        offset += (uint64_t)got;
    }
}

/* Many reads in flight at once; the tag says which part a completion is of. */
static void read_batch(struct session *session, cachefs_file *file, const char *path,
                       uint64_t offset, uint64_t length) {
    cachefs_request requests[BATCH] = {0};
    cachefs_completion completions[BATCH];
    uint32_t count = 0;
    for (uint64_t done = 0; done < length; done += PART) {
        requests[count] = (cachefs_request){
            .operation = CACHEFS_OPERATION_READ,
            .file = file,
            .buffer = session->buffer + done,
            .length = length - done < PART ? length - done : PART,
            .offset = offset + done,
            .tag = count,
        };
        count++;
    }
    if (cachefs_queue_push(session->queue, requests, count, sizeof requests[0]) != (int)count)
        fail(path);
    if (cachefs_queue_wait(session->queue, completions, count, BATCH, -1) != (int)count)
        fail(path);
    for (uint32_t i = 0; i < count; i++) {
        int64_t result = completions[i].result;
        if (result < 0 || (uint64_t)result != requests[completions[i].tag].length) {
            fprintf(stderr, "quickstart: %s: read gave %" PRId64 "\n", path, result);
            exit(1);
        }
    }
    hash(session, session->buffer, length);
}

static void read_queued(struct session *session, cachefs_file *file, const char *path,
                        uint64_t size) {
    const uint64_t batch = (uint64_t)BATCH * PART;
    for (uint64_t offset = 0; offset < size; offset += batch)
        read_batch(session, file, path, offset, size - offset < batch ? size - offset : batch);
}

/* Shows how far a copy-fill is. */
static int32_t show_progress(void *user, uint64_t bytes_done, uint64_t bytes_total) {
    (void)user;
    fprintf(stderr, "\rcopy-fill of the largest file: %3.0f%%%s",
            100.0 * (double)bytes_done / (double)bytes_total,
            bytes_done == bytes_total ? "\n" : "");
    return 0; /* go on */
}

static void fill(cachefs_file *file, const char *path, uint64_t size) {
    cachefs_residency residency = {.struct_size = sizeof residency};
    if (cachefs_file_residency(file, &residency) != 0)
        fail(path);
    bool show = !residency.complete && isatty(STDERR_FILENO);
    cachefs_progress_callback progress = show ? show_progress : NULL;
    if (cachefs_fill(file, 0, CACHEFS_TO_END, progress, NULL) != (int64_t)size)
        fail(path);
}

/* Reads one file in the way that suits its size, and writes its sum. */
static void read_file(struct session *session, const char *path, bool largest, FILE *sums) {
    cachefs_file *file = NULL;
    cachefs_file_info info = {.struct_size = sizeof info};
    if (cachefs_file_open(session->origin, path, 0, &file) != 0)
        fail(path);
    if (cachefs_file_stat(file, &info) != 0)
        fail(path);
    if (EVP_DigestInit_ex(session->digest, EVP_sha256(), NULL) != 1)
        fail("EVP_DigestInit_ex");

    session->counts.bytes += info.size;
    if (largest) {
        session->counts.filled++;
        fill(file, path, info.size);
        read_queued(session, file, path, info.size);
    } else if (info.size > PART) {
        session->counts.queued++;
        read_queued(session, file, path, info.size);
    } else {
        session->counts.blocking++;
        read_blocking(session, file, path, info.size);
    }
    cachefs_file_close(file);

    unsigned char sum[EVP_MAX_MD_SIZE];
    unsigned length;
    if (EVP_DigestFinal_ex(session->digest, sum, &length) != 1)
        fail("EVP_DigestFinal_ex");
    for (unsigned i = 0; i < length; i++)
        fprintf(sums, "%02x", sum[i]);
    fprintf(sums, "  %s\n", path);
}

/* --- two passes ------------------------------------------------------------- */

static void open_session(struct session *session, const char *cache_dir,
                         struct slow_origin *slow) {
    memset(session, 0, sizeof *session);
    cachefs_cache_options options;
    if (cachefs_cache_options_init(&options, sizeof options) != 0 ||
        cachefs_cache_options_set(&options, "capacity_bytes", "2GiB") != 0)
        fail("options");
    if (cachefs_cache_open(cache_dir, &options, &session->cache) != 0)
        fail(cache_dir);
    cachefs_origin_ops ops = slow_origin_ops();
    if (cachefs_origin_open(session->cache, "quickstart", &ops, slow, NULL, &session->origin) != 0)
        fail("origin");
    cachefs_queue_options queue_options = {.struct_size = sizeof queue_options, .depth = BATCH};
    if (cachefs_queue_open(session->cache, &queue_options, &session->queue) != 0)
        fail("queue");
    session->buffer = malloc((size_t)BATCH * PART);
    session->digest = EVP_MD_CTX_new();
    if (session->buffer == NULL || session->digest == NULL)
        fail("memory");
}

static void close_session(struct session *session) {
    EVP_MD_CTX_free(session->digest);
    free(session->buffer);
    cachefs_queue_close(session->queue);
    cachefs_origin_close(session->origin);
    cachefs_cache_close(session->cache);
}

static cachefs_statistics statistics(cachefs_cache *cache) {
    cachefs_statistics statistics = {.struct_size = sizeof statistics};
    if (cachefs_stats(cache, &statistics) != 0)
        fail("statistics");
    return statistics;
}

/* Reads every file of the list; the cost is the difference of the counters. */
static struct pass run_pass(struct session *session, const struct list *list,
                            const char *sums_path) {
    FILE *sums = fopen(sums_path, "w");
    if (sums == NULL) {
        perror(sums_path);
        exit(1);
    }
    cachefs_statistics before = statistics(session->cache);
    double begin = now();
    for (size_t i = 0; i < list->count; i++)
        read_file(session, list->paths[i], list->paths[i] == list->largest, sums);
    struct pass pass = {.seconds = now() - begin, .statistics = statistics(session->cache)};
    pass.statistics.hits -= before.hits;
    pass.statistics.misses -= before.misses;
    pass.statistics.bypasses -= before.bypasses;
    pass.statistics.bytes_from_origin -= before.bytes_from_origin;
    pass.statistics.bytes_from_cache -= before.bytes_from_cache;
    if (fclose(sums) != 0) {
        perror(sums_path);
        exit(1);
    }
    return pass;
}

static void show_pass(const char *name, const struct pass *pass, uint64_t bytes) {
    const cachefs_statistics *statistics = &pass->statistics;
    printf("%-12s %8.1f s %9.1f MB/s %8" PRIu64 " %8" PRIu64 " %11.1f MB %11.1f MB\n", name,
           pass->seconds, megabytes(bytes) / pass->seconds, statistics->hits,
           statistics->misses + statistics->bypasses, megabytes(statistics->bytes_from_origin),
           megabytes(statistics->bytes_from_cache));
}

/* --- the list ---------------------------------------------------------------- */

static struct list read_list(const char *path, cachefs_origin_ops ops, struct slow_origin *slow) {
    struct list list = {0};
    uint64_t largest_size = 0;
    char *line = NULL;
    size_t size = 0;
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        perror(path);
        exit(1);
    }
    while (getline(&line, &size, file) > 0) {
        line[strcspn(line, "\n")] = '\0';
        list.paths = realloc(list.paths, (list.count + 1) * sizeof *list.paths);
        if (list.paths == NULL || (list.paths[list.count] = strdup(line)) == NULL)
            fail("memory");
        cachefs_origin_attr attr = {.struct_size = sizeof attr};
        if (ops.stat(slow, line, &attr) == 0 && attr.size > largest_size) {
            largest_size = attr.size;
            list.largest = list.paths[list.count];
        }
        list.count++;
    }
    free(line);
    fclose(file);
    return list;
}

static void free_list(struct list *list) {
    for (size_t i = 0; i < list->count; i++)
        free(list->paths[i]);
    free(list->paths);
}

int main(int argc, char **argv) {
    if (argc != 7 || atof(argv[4]) <= 0) {
        fprintf(stderr, "usage: quickstart ORIGIN CACHE_DIR LIST RATE_MB SUMS1 SUMS2\n");
        return 2;
    }
    struct slow_origin slow;
    int result = slow_origin_init(&slow, argv[1], (uint64_t)(atof(argv[4]) * 1e6));
    if (result != 0) {
        fprintf(stderr, "quickstart: %s: %s\n", argv[1], strerror(-result));
        return 1;
    }
    struct list list = read_list(argv[3], slow_origin_ops(), &slow);
    printf("libcachefs %s\n", cachefs_version_string());
    printf("origin: %s, slowed down to %s MB/s over all its threads\n", argv[1], argv[4]);

    struct session session;
    struct pass passes[2];
    struct counts counts = {0};
    for (int i = 0; i < 2; i++) {
        /* Anew for each pass: the cache outlives the program that filled it. */
        open_session(&session, argv[2], &slow);
        passes[i] = run_pass(&session, &list, argv[5 + i]);
        counts = session.counts;
        close_session(&session);
    }
    printf("files: %zu of %.1f MB: %u by blocking reads, %u by batches on a queue, "
           "%u by a copy-fill and batches\n\n",
           list.count, megabytes(counts.bytes), counts.blocking, counts.queued, counts.filled);
    printf("%-12s %10s %14s %8s %8s %14s %14s\n", "", "time", "speed", "hits", "misses",
           "from origin", "from cache");
    show_pass("first pass", &passes[0], counts.bytes);
    show_pass("second pass", &passes[1], counts.bytes);

    free_list(&list);
    slow_origin_destroy(&slow);
    return 0;
}

/*
 * bench_read [OPTION=VALUE...] DIR
 *
 * What a read of cached bytes costs when they are in the page cache: batches on
 * a queue, blocking calls, and leases, each against pread(2) on the same file, at the
 * same offsets, into the same memory. They take turns, since a machine's speed
 * drifts: first one, then the other first. Of the ratios the median counts.
 * What it makes in DIR it removes.
 *
 *   size    bytes of the file                                67108864
 *   block   bytes of a read; offsets are multiples of it         4096
 *   batch   reads of a batch                                       32
 *   count   reads of one measurement                           500000
 *   pairs   measurements of each                                    9
 *   only    queue, blocking, lease or pread: nothing else, as for perf(1)
 *
 * Any other OPTION is one of cachefs_cache_options_set().
 */
#include <cachefs.h>

#include <ftw.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    BATCH_MAX = 4096,
    PAIRS_MAX = 1000,
    PART = 1 << 20,    /* bytes written at once when the file is made */
    SETTLE_US = 50000, /* a file that has just changed is not cached yet */
};

struct settings {
    uint64_t size;
    uint64_t block;
    uint64_t batch;
    uint64_t count;
    uint64_t pairs;
    const char *only;
    cachefs_cache_options options;
};

/* What is measured on. */
struct bench {
    struct settings set;
    cachefs_cache *cache;
    cachefs_origin *origin;
    cachefs_file *file;
    cachefs_queue *queue;
    int fd;           /* of the cached copy, for pread */
    char *buffer;     /* of the library, batch * block bytes */
    uint64_t *places; /* the offsets of `count` reads */
    cachefs_request requests[BATCH_MAX];
    cachefs_completion completions[BATCH_MAX];
};

/* Of one read, in nanoseconds. */
struct cost {
    double elapsed;
    double cpu; /* of all threads, user and system */
};

typedef void (*way)(struct bench *bench);

/* --- failures ------------------------------------------------------------------ */

static char work[4096]; /* the directory of everything that was made */

static volatile sig_atomic_t interrupted;

static void interrupt(int signal) {
    (void)signal;
    interrupted = 1;
}

static int remove_entry(const char *path, const struct stat *stat, int type, struct FTW *at) {
    (void)stat, (void)type, (void)at;
    return remove(path);
}

static void remove_work(void) {
    if (work[0] != '\0' && nftw(work, remove_entry, 16, FTW_DEPTH | FTW_PHYS) != 0)
        perror(work);
}

/* A result of the library that must not be an error. */
static int64_t library(const char *what, int64_t result) {
    if (result < 0) {
        fprintf(stderr, "bench_read: %s: %s\n", what, cachefs_last_error());
        exit(1);
    }
    return result;
}

/* A condition of the system's; errno says why not. */
static void must(const char *what, bool holds) {
    if (!holds) {
        perror(what);
        exit(1);
    }
}

/* --- the ways to read ------------------------------------------------------------ */

static void check(int64_t result, uint64_t block) {
    if (result != (int64_t)block) {
        fprintf(stderr, "bench_read: a read gave %" PRId64 "\n", result);
        exit(1);
    }
}

static void read_by_queue(struct bench *bench) {
    const uint64_t block = bench->set.block;
    for (uint64_t done = 0; done < bench->set.count;) {
        uint64_t left = bench->set.count - done;
        uint32_t count = (uint32_t)(left < bench->set.batch ? left : bench->set.batch);
        for (uint32_t i = 0; i < count; i++)
            bench->requests[i].offset = bench->places[done + i];
        int pushed = cachefs_queue_push(bench->queue, bench->requests, count,
                                        sizeof bench->requests[0]);
        if (library("push", pushed) != count)
            check(pushed, count);
        int fetched =
            cachefs_queue_wait(bench->queue, bench->completions, count, BATCH_MAX, -1);
        if (library("wait", fetched) != count)
            check(fetched, count);
        for (uint32_t i = 0; i < count; i++)
            check(bench->completions[i].result, block);
        done += count;
    }
}

/* The memory that the read with this number of a batch goes to. */
static char *place(struct bench *bench, uint64_t number) {
    return bench->buffer + number % bench->set.batch * bench->set.block;
}

static void read_blocking(struct bench *bench) {
    const uint64_t block = bench->set.block;
    for (uint64_t i = 0; i < bench->set.count; i++)
        check(cachefs_read(bench->file, place(bench, i), block, bench->places[i]), block);
}

/* Acquired, located and released; memory_bytes says whether without a system call. */
static void read_by_lease(struct bench *bench) {
    const uint64_t block = bench->set.block;
    for (uint64_t i = 0; i < bench->set.count; i++) {
        cachefs_lease *lease;
        const void *data;
        uint64_t length;
        library("lease", cachefs_lease_acquire(bench->file, bench->places[i], block, &lease));
        library("lease", cachefs_lease_data(lease, &data, &length));
        check((int64_t)length, block);
        cachefs_lease_release(lease);
    }
}

static void read_by_pread(struct bench *bench) {
    const uint64_t block = bench->set.block;
    for (uint64_t i = 0; i < bench->set.count; i++)
        check(pread(bench->fd, place(bench, i), block, (off_t)bench->places[i]), block);
}

/* --- measuring -------------------------------------------------------------------- */

static double elapsed_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static double cpu_ns(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e9 +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e3;
}

static struct cost measure(struct bench *bench, way way) {
    double elapsed = elapsed_ns(), cpu = cpu_ns();
    way(bench);
    if (interrupted)
        exit(1);
    return (struct cost){
        .elapsed = (elapsed_ns() - elapsed) / (double)bench->set.count,
        .cpu = (cpu_ns() - cpu) / (double)bench->set.count,
    };
}

static int compare(const void *one, const void *other) {
    double a = *(const double *)one, b = *(const double *)other;
    return (a > b) - (a < b);
}

/* Sorts the values. */
static double median(double *values, uint64_t count) {
    qsort(values, count, sizeof *values, compare);
    return (values[(count - 1) / 2] + values[count / 2]) / 2;
}

static void compare_with_pread(struct bench *bench, const char *name, way ours) {
    static double elapsed[PAIRS_MAX], pread_elapsed[PAIRS_MAX], ratios[PAIRS_MAX];
    static double cpu[PAIRS_MAX], pread_cpu[PAIRS_MAX], cpu_ratios[PAIRS_MAX];
    uint64_t pairs = bench->set.pairs;
    measure(bench, ours);
    measure(bench, read_by_pread);
    for (uint64_t i = 0; i < pairs; i++) {
        struct cost own, other;
        if (i % 2 == 0) {
            own = measure(bench, ours);
            other = measure(bench, read_by_pread);
        } else {
            other = measure(bench, read_by_pread);
            own = measure(bench, ours);
        }
        elapsed[i] = own.elapsed;
        cpu[i] = own.cpu;
        pread_elapsed[i] = other.elapsed;
        pread_cpu[i] = other.cpu;
        ratios[i] = own.elapsed / other.elapsed;
        cpu_ratios[i] = own.cpu / other.cpu;
    }
    const struct {
        const char *figure;
        double *own, *other, *ratios;
    } rows[] = {{"time", elapsed, pread_elapsed, ratios}, {"CPU", cpu, pread_cpu, cpu_ratios}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        double ratio = median(rows[i].ratios, pairs);
        printf("%-9s %-4s %7.0f ns   pread %7.0f ns   ratio %.3f (%.3f to %.3f)\n", name,
               rows[i].figure, median(rows[i].own, pairs), median(rows[i].other, pairs), ratio,
               rows[i].ratios[0], rows[i].ratios[pairs - 1]);
    }
}

/* --- what is read ------------------------------------------------------------------ */

/* xorshift: the same offsets each time, in no order. */
static uint64_t next_random(void) {
    static uint64_t state = 88172645463325252;
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
}

static void make_file(const char *path, uint64_t size) {
    static char part[PART];
    FILE *file = fopen(path, "w");
    must(path, file != NULL);
    for (uint64_t done = 0; done < size;) {
        for (size_t i = 0; i < sizeof part; i += sizeof(uint64_t))
            memcpy(part + i, &(uint64_t){next_random()}, sizeof(uint64_t));
        size_t length = size - done < PART ? (size_t)(size - done) : PART;
        must(path, fwrite(part, 1, length, file) == length);
        done += length;
    }
    must(path, fclose(file) == 0);
    usleep(SETTLE_US);
}

static void open_bench(struct bench *bench) {
    struct settings *set = &bench->set;
    char origin[sizeof work + 16], cache[sizeof work + 16], file[sizeof work + 32];
    snprintf(origin, sizeof origin, "%s/origin", work);
    snprintf(cache, sizeof cache, "%s/cache", work);
    snprintf(file, sizeof file, "%s/data", origin);
    must(origin, mkdir(origin, 0700) == 0);
    make_file(file, set->size);

    library("cache", cachefs_cache_open(cache, &set->options, &bench->cache));
    library("origin", cachefs_origin_open_dir(bench->cache, origin, NULL, &bench->origin));
    library("file", cachefs_file_open(bench->origin, "data", 0, &bench->file));
    library("fill", cachefs_fill(bench->file, 0, CACHEFS_TO_END, NULL, NULL));
    bench->fd = (int)library("cached copy", cachefs_file_fd(bench->file));

    cachefs_queue_options queue = {.struct_size = sizeof queue, .depth = (uint32_t)set->batch};
    library("queue", cachefs_queue_open(bench->cache, &queue, &bench->queue));
    void *buffer;
    library("buffer", cachefs_buffer_alloc(bench->cache, set->batch * set->block, &buffer));
    bench->buffer = buffer;
    for (uint64_t i = 0; i < set->batch; i++)
        bench->requests[i] = (cachefs_request){
            .operation = CACHEFS_OPERATION_READ,
            .file = bench->file,
            .buffer = place(bench, i),
            .length = set->block,
            .tag = i,
        };
    bench->places = malloc(set->count * sizeof *bench->places);
    must("memory", bench->places != NULL);
    for (uint64_t i = 0; i < set->count; i++)
        bench->places[i] = next_random() % (set->size / set->block) * set->block;
    /* What was just written is still on its way to the disk, and would disturb. */
    sync();
}

static void close_bench(struct bench *bench) {
    free(bench->places);
    close(bench->fd);
    cachefs_queue_close(bench->queue);
    library("buffer", cachefs_buffer_free(bench->cache, bench->buffer));
    cachefs_file_close(bench->file);
    cachefs_origin_close(bench->origin);
    cachefs_cache_close(bench->cache);
}

static void show_engine(cachefs_cache *cache) {
    cachefs_report report = {.struct_size = sizeof report};
    library("report", cachefs_cache_report(cache, &report));
    printf("engine: %s\n", report.engine_reason);
}

/* --- the command line ---------------------------------------------------------------- */

static void usage(void) {
    fprintf(stderr, "usage: bench_read [size|block|batch|count|pairs=NUMBER] "
                    "[only=queue|blocking|lease|pread] [KEY=VALUE...] DIR\n");
    exit(2);
}

static void set_option(struct settings *set, char *word) {
    struct {
        const char *key;
        uint64_t *value;
        uint64_t max;
    } numbers[] = {
        {"size", &set->size, UINT64_C(1) << 40},  {"block", &set->block, UINT64_C(1) << 24},
        {"batch", &set->batch, BATCH_MAX},        {"count", &set->count, UINT64_C(1) << 32},
        {"pairs", &set->pairs, PAIRS_MAX},
    };
    char *value = strchr(word, '=');
    if (value == NULL)
        usage();
    *value++ = '\0';
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        if (strcmp(word, numbers[i].key) != 0)
            continue;
        *numbers[i].value = strtoull(value, NULL, 10);
        if (*numbers[i].value == 0 || *numbers[i].value > numbers[i].max)
            usage();
        return;
    }
    if (strcmp(word, "only") == 0)
        set->only = value;
    else
        library(word, cachefs_cache_options_set(&set->options, word, value));
}

static void run_only(struct bench *bench, const char *name, way way) {
    struct cost cost = {0};
    for (uint64_t i = 0; i < bench->set.pairs; i++)
        cost = measure(bench, way);
    printf("%-9s %7.0f ns %7.0f ns of CPU, the last of %" PRIu64 "\n", name, cost.elapsed,
           cost.cpu, bench->set.pairs);
}

int main(int argc, char **argv) {
    static struct bench bench = {
        .set = {.size = 64 << 20, .block = 4096, .batch = 32, .count = 500000, .pairs = 9},
    };
    struct settings *set = &bench.set;
    library("options", cachefs_cache_options_init(&set->options, sizeof set->options));
    if (argc < 2)
        usage();
    for (int i = 1; i < argc - 1; i++)
        set_option(set, argv[i]);
    if (set->size < set->block)
        usage();
    const struct {
        const char *name;
        way way;
    } ways[] = {{"queue", read_by_queue}, {"blocking", read_blocking},
              {"lease", read_by_lease}, {"pread", read_by_pread}};

    snprintf(work, sizeof work, "%s/bench_read.XXXXXX", argv[argc - 1]);
    if (mkdtemp(work) == NULL) {
        perror(work);
        return 1;
    }
    atexit(remove_work);
    signal(SIGINT, interrupt);
    signal(SIGTERM, interrupt);
    open_bench(&bench);
    show_engine(bench.cache);
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        if (set->only != NULL && strcmp(set->only, ways[i].name) == 0)
            run_only(&bench, ways[i].name, ways[i].way);
        else if (set->only == NULL && ways[i].way != read_by_pread)
            compare_with_pread(&bench, ways[i].name, ways[i].way);
    }
    close_bench(&bench);
    return 0;
}

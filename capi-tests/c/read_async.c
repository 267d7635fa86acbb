/* Callback reads give the same bytes, each with one callback on an I/O thread. */
#include "t.h"

#include <sys/prctl.h>

enum { SIZE = 4 * T_CHUNK + 999, SEED = 5, READS = 64, LENGTH = 10000 };

struct read {
    struct t_completions completions;
    uint64_t id;
    uint64_t offset;
    unsigned char buffer[LENGTH];
    char thread[16];
};

static void done(void *user, const cachefs_completion *completion) {
    struct read *read = user;
    prctl(PR_GET_NAME, read->thread);
    t_complete(&read->completions, completion);
}

static void check_pass(cachefs_file *file) {
    static struct read reads[READS];
    memset(reads, 0, sizeof reads);
    for (uint64_t i = 0; i < READS; i++) {
        reads[i].offset = i * 4321 % SIZE;
        CHECK_OK(cachefs_read_async(file, reads[i].buffer, LENGTH, reads[i].offset, done,
                                    &reads[i], &reads[i].id));
        CHECK(reads[i].id != 0);
    }
    for (uint64_t i = 0; i < READS; i++) {
        uint64_t left = SIZE - reads[i].offset;
        uint64_t expected = left < LENGTH ? left : LENGTH;
        cachefs_completion completion = t_completion(&reads[i].completions, 1);
        CHECK_EQ(completion.result, expected);
        CHECK_EQ(completion.tag, reads[i].id);
        CHECK_EQ(completion.operation, CACHEFS_OPERATION_READ);
        CHECK_CONTENT(reads[i].buffer, expected, SEED, reads[i].offset);
        CHECK(strncmp(reads[i].thread, "cachefs-io-", 11) == 0);
        for (uint64_t j = 0; j < i; j++)
            CHECK(reads[i].id != reads[j].id);
    }
}

int main(void) {
    t_make_origin_file("file", SIZE, SEED);
    cachefs_cache *cache = t_cache_open();
    cachefs_origin *origin = t_origin_open_dir(cache);
    cachefs_file *file = t_file_open(origin, "file");

    check_pass(file);
    check_pass(file);

    /* Past the end, and of nothing; nobody asks for the id. */
    struct t_completions completions = {0};
    CHECK_OK(cachefs_read_async(file, &completions, 10, SIZE, t_complete, &completions, NULL));
    CHECK_EQ(t_completion(&completions, 1).result, 0);
    CHECK_OK(cachefs_read_async(file, NULL, 0, 0, t_complete, &completions, NULL));
    CHECK_EQ(t_completion(&completions, 2).result, 0);

    CHECK_SOON(t_statistics(cache).in_flight == 0);
    cachefs_file_close(file);
    cachefs_origin_close(origin);
    cachefs_cache_close(cache);
    return 0;
}

/* A callback may start the next request: a chain of reads runs without help. */
#include "t.h"

enum { SIZE = 8 * T_CHUNK + 5, SEED = 35, STEP = 5000 };

struct chain {
    struct t_completions completions;
    cachefs_file *file;
    uint64_t offset;
    unsigned char buffer[STEP];
};

static void next(void *user, const cachefs_completion *completion) {
    struct chain *chain = user;
    CHECK(completion->result >= 0);
    CHECK_CONTENT(chain->buffer, (uint64_t)completion->result, SEED, chain->offset);
    chain->offset += (uint64_t)completion->result;
    if (completion->result == 0) {
        cachefs_file_close(chain->file);
        t_complete(&chain->completions, completion);
        return;
    }
    CHECK_OK(cachefs_read_async(chain->file, chain->buffer, STEP, chain->offset, next, chain,
                                NULL));
}

int main(void) {
    t_make_origin_file("file", SIZE, SEED);
    cachefs_cache *cache = t_cache_open();
    cachefs_origin *origin = t_origin_open_dir(cache);

    for (int pass = 0; pass < 2; pass++) {
        static struct chain chain;
        memset(&chain, 0, sizeof chain);
        chain.file = t_file_open(origin, "file");
        CHECK_OK(cachefs_read_async(chain.file, chain.buffer, STEP, 0, next, &chain, NULL));
        t_completion(&chain.completions, 1);
        CHECK_EQ(chain.offset, SIZE);
    }

    cachefs_origin_close(origin);
    cachefs_cache_close(cache);
    return 0;
}

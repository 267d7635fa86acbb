/* A request of a batch is canceled by its id; the others, and the callback, are not. */
#include "t.h"
#include "t_origin.h"

enum { SIZE = 4 * T_CHUNK, SEED = 71, COUNT = 3 };

static int64_t results[COUNT];
static atomic_uint calls;

static void tell(void *user, const cachefs_completion *completions, uint32_t count) {
    CHECK(user == NULL);
    CHECK_EQ(count, COUNT);
    for (uint32_t i = 0; i < count; i++)
        results[i] = completions[i].result;
    atomic_fetch_add(&calls, 1);
}

static unsigned char buffers[COUNT][100];

int main(void) {
    struct t_origin memory;
    t_origin_init(&memory, SIZE, SEED);
    cachefs_cache *cache = t_cache_open();
    cachefs_origin *origin = t_origin_open(cache, &memory);
    cachefs_file *file = t_file_open(origin, "file");
    memory.hold = true;
    cachefs_request requests[COUNT] = {0};
    for (unsigned i = 0; i < COUNT; i++) {
        requests[i].operation = CACHEFS_OPERATION_READ;
        requests[i].file = file;
        requests[i].buffer = buffers[i];
        requests[i].length = sizeof buffers[i];
        requests[i].offset = i * (uint64_t)T_CHUNK;
    }
    uint64_t ids[COUNT];
    CHECK_OK(cachefs_batch_async(requests, COUNT, sizeof *requests, tell, NULL, ids));
    CHECK_SOON(t_origin_held(&memory) == COUNT);
    CHECK_OK(cachefs_cancel(cache, ids[1]));
    t_origin_release(&memory);
    CHECK_SOON(atomic_load(&calls) == 1);
    CHECK_EQ(results[0], 100);
    CHECK(results[1] == -ECANCELED || results[1] == 100);
    CHECK_EQ(results[2], 100);
    CHECK_CONTENT(buffers[2], sizeof buffers[2], SEED, 2 * (uint64_t)T_CHUNK);

    cachefs_file_close(file);
    cachefs_origin_close(origin);
    cachefs_cache_close(cache);
    CHECK_EQ(atomic_load(&calls), 1);
    return 0;
}

/* A vectored read of a queue fills its pieces in order, from the origin and from the cache. */
#include "t.h"
#include "t_origin.h"
#include <sys/uio.h>

enum { SIZE = 2 * T_CHUNK + 50, SEED = 74 };

static unsigned char first[1000], second[T_CHUNK], third[7];

int main(void) {
    t_make_origin_file("file", SIZE, SEED);
    cachefs_cache *cache = t_cache_open();
    cachefs_origin *origin = t_origin_open_dir(cache);
    cachefs_file *file = t_file_open(origin, "file");
    cachefs_queue *queue = t_queue_open(cache, 2, 0);
    struct iovec pieces[] = {{first, sizeof first}, {second, sizeof second}, {third, sizeof third}};
    cachefs_completion done;

    for (unsigned pass = 0; pass < 2; pass++) {
        /* A miss is answered before it is stored. */
        if (pass == 1)
            CHECK_EQ(cachefs_fill(file, 0, CACHEFS_TO_END, NULL, NULL), SIZE);
        memset(second, 0, sizeof second);
        CHECK_OK(cachefs_queue_readv(queue, file, pieces, 3, 11, pass));
        CHECK_EQ(cachefs_queue_wait(queue, &done, 1, 1, -1), 1);
        CHECK_EQ(done.tag, pass);
        CHECK_EQ(done.result, sizeof first + sizeof second + sizeof third);
        CHECK_EQ(done.source, pass == 0 ? CACHEFS_SOURCE_MISS : CACHEFS_SOURCE_HIT);
        CHECK_CONTENT(first, sizeof first, SEED, 11);
        CHECK_CONTENT(second, sizeof second, SEED, 11 + sizeof first);
        CHECK_CONTENT(third, sizeof third, SEED, 11 + sizeof first + sizeof second);
    }
    /* Across the end, and nothing at all. */
    CHECK_OK(cachefs_queue_readv(queue, file, pieces, 3, SIZE - 1003, 2));
    CHECK_EQ(cachefs_queue_wait(queue, &done, 1, 1, -1), 1);
    CHECK_EQ(done.result, 1003);
    CHECK_CONTENT(second, 3, SEED, SIZE - 3);
    CHECK_OK(cachefs_queue_readv(queue, file, NULL, 0, 0, 3));
    CHECK_EQ(cachefs_queue_wait(queue, &done, 1, 1, -1), 1);
    CHECK_EQ(done.result, 0);
    CHECK_ERROR(cachefs_queue_readv(queue, file, NULL, 1, 0, 4), -EINVAL);
    CHECK_ERROR(cachefs_queue_readv(queue, file, pieces, 1025, 0, 4), -EINVAL);

    cachefs_queue_close(queue);
    cachefs_file_close(file);
    cachefs_origin_close(origin);
    cachefs_cache_close(cache);
    return 0;
}

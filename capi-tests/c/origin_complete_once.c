/* An origin's read is completed once; the second time the token is unknown. */
#include "t.h"
#include "t_origin.h"

enum { SIZE = 2 * T_CHUNK, SEED = 39 };

int main(void) {
    struct t_origin memory;
    t_origin_init(&memory, SIZE, SEED);
    memory.hold = true;
    cachefs_cache *cache = t_cache_open();
    cachefs_origin *origin = t_origin_open(cache, &memory);
    cachefs_file *file = t_file_open(origin, "file");
    static unsigned char buffer[SIZE];
    struct t_completions completions = {0};

    CHECK_OK(cachefs_read_async(file, buffer, SIZE, 0, t_complete, &completions, NULL));
    CHECK_SOON(t_origin_held(&memory) == 2);
    struct t_held first = t_origin_take(&memory);
    struct t_held second = t_origin_take(&memory);

    CHECK_OK(t_origin_answer(&memory, &first, T_ALL));
    CHECK_ERROR(cachefs_origin_complete(first.token, (int64_t)first.length), -EBADF);
    CHECK_ERROR(cachefs_origin_complete(first.token, -EIO), -EBADF);
    CHECK_EQ(t_completed(&completions), 0);
    CHECK_OK(t_origin_answer(&memory, &second, T_ALL));
    CHECK_EQ(t_completion(&completions, 1).result, SIZE);
    CHECK_CONTENT(buffer, SIZE, SEED, 0);
    CHECK_ERROR(cachefs_origin_complete(second.token, (int64_t)second.length), -EBADF);

    cachefs_file_close(file);
    cachefs_origin_close(origin);
    cachefs_cache_close(cache);
    CHECK_ERROR(cachefs_origin_complete(first.token, 0), -EBADF);
    return 0;
}

/* What cannot be registered, and what never was, is refused with its errno. */
#include "t.h"

enum { PAGE = 4096, PIECES_MAX = 64 };

static unsigned char memory[(2 * PIECES_MAX + 2) * PAGE];

int main(void) {
    cachefs_cache *cache = t_cache_open();
    void *buffer = NULL;

    CHECK_ERROR(cachefs_buffer_alloc(NULL, PAGE, &buffer), -EINVAL);
    CHECK_ERROR(cachefs_buffer_alloc(cache, PAGE, NULL), -EINVAL);
    CHECK_ERROR(cachefs_buffer_alloc(cache, 0, &buffer), -EINVAL);
    CHECK_ERROR(cachefs_buffer_alloc(cache, UINT64_MAX, &buffer), -EINVAL);
    CHECK(buffer == NULL);
    CHECK_ERROR(cachefs_buffer_free(NULL, memory), -EINVAL);
    CHECK_ERROR(cachefs_buffer_free(cache, memory), -ENOENT);
    CHECK_ERROR(cachefs_buffer_register(NULL, memory, PAGE), -EINVAL);
    CHECK_ERROR(cachefs_buffer_register(cache, NULL, PAGE), -EINVAL);
    CHECK_ERROR(cachefs_buffer_register(cache, memory, 0), -EINVAL);
    CHECK_ERROR(cachefs_buffer_register(cache, memory, UINT64_MAX), -EINVAL);
    CHECK_ERROR(cachefs_buffer_unregister(NULL, memory), -EINVAL);
    CHECK_ERROR(cachefs_buffer_unregister(cache, NULL), -EINVAL);
    CHECK_ERROR(cachefs_buffer_unregister(cache, memory), -ENOENT);

    /* Nothing twice, and memory that was registered is not freed by us. */
    CHECK_OK(cachefs_buffer_register(cache, memory + PAGE, PAGE));
    CHECK_ERROR(cachefs_buffer_register(cache, memory + 2 * PAGE - 1, 2), -EEXIST);
    CHECK_ERROR(cachefs_buffer_free(cache, memory + PAGE), -ENOENT);
    CHECK_ERROR(cachefs_buffer_unregister(cache, memory + PAGE + 1), -ENOENT);
    CHECK_OK(cachefs_buffer_unregister(cache, memory + PAGE));

    /* So many, and no more. */
    for (unsigned i = 0; i < PIECES_MAX; i++)
        CHECK_OK(cachefs_buffer_register(cache, memory + 2 * i * PAGE, PAGE));
    unsigned char *more = memory + 2 * PIECES_MAX * PAGE;
    CHECK_ERROR(cachefs_buffer_register(cache, more, PAGE), -ENOSPC);
    CHECK_ERROR(cachefs_buffer_alloc(cache, PAGE, &buffer), -ENOSPC);
    CHECK_OK(cachefs_buffer_unregister(cache, memory));
    CHECK_OK(cachefs_buffer_register(cache, more, PAGE));

    cachefs_cache_close(cache);
    CHECK_ERROR(cachefs_buffer_alloc(cache, PAGE, &buffer), -EBADF);
    CHECK_ERROR(cachefs_buffer_register(cache, memory, PAGE), -EBADF);
    CHECK_ERROR(cachefs_buffer_unregister(cache, memory), -EBADF);
    CHECK_ERROR(cachefs_buffer_free(cache, memory), -EBADF);
    return 0;
}

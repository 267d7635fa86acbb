/*
 * In a forked child every call is refused with -ECHILD; that and the child's end
 * do no harm to the parent, which goes on, also with what was in flight.
 */
#include "t.h"
#include "t_handles.h"

#include <sys/wait.h>

enum { SIZE = 6 * T_CHUNK, SEED = 37 };

/*
 * Ends a child well. Under valgrind by becoming another program, since otherwise
 * it takes for lost what belonged to threads that a child does not have.
 */
static void end_child(void) {
    fflush(NULL);
    if (t_under_valgrind())
        execlp("true", "true", (char *)NULL);
    _exit(0);
}

/* Runs `in_child` in a child process; its checks end it with 1. */
#define IN_CHILD(in_child)                                                                  \
    do {                                                                                    \
        pid_t t_child = fork();                                                             \
        CHECK(t_child >= 0);                                                                \
        if (t_child == 0) {                                                                 \
            in_child;                                                                       \
            end_child();                                                                    \
        }                                                                                   \
        int t_status;                                                                       \
        CHECK_EQ(waitpid(t_child, &t_status, 0), t_child);                                  \
        CHECK(WIFEXITED(t_status));                                                         \
        CHECK_EQ(WEXITSTATUS(t_status), 0);                                                 \
    } while (0)

int main(void) {
    struct t_origin memory;
    t_origin_init(&memory, SIZE, SEED);
    cachefs_cache_options options = t_options();
    options.readahead = 1; /* off: the origin's reads are counted */
    cachefs_cache *cache = t_cache_open_with(t_path("cache"), &options);
    cachefs_origin *origin = t_origin_open(cache, &memory);
    cachefs_file *file = t_file_open(origin, "file");
    cachefs_queue *queue = t_queue_open(cache, 8, CACHEFS_QUEUE_MOVABLE);
    CHECK_READ(file, SIZE, SEED, T_CHUNK, 0);

    IN_CHILD(t_check_cache_refused(cache, -ECHILD));
    IN_CHILD(t_check_origin_refused(origin, -ECHILD));
    IN_CHILD(t_check_file_refused(file, -ECHILD));
    IN_CHILD(t_check_queue_refused(queue, file, -ECHILD));
    cachefs_lease *lease = NULL;
    const void *data = NULL;
    uint64_t length = 0;
    CHECK_OK(cachefs_lease_acquire(file, 0, T_CHUNK, &lease));
    IN_CHILD({
        CHECK_ERROR(cachefs_lease_data(lease, &data, &length), -ECHILD);
        cachefs_lease_release(lease);
        CHECK(cachefs_last_error()[0] != '\0');
    });
    CHECK_OK(cachefs_lease_data(lease, &data, &length));
    CHECK_CONTENT(data, length, SEED, 0);
    cachefs_lease_release(lease);
    IN_CHILD({
        cachefs_queue_close(queue);
        cachefs_file_close(file);
        cachefs_origin_close(origin);
        CHECK_ERROR(cachefs_cache_close(cache), -ECHILD);
    });
    CHECK_EQ(memory.frees, 0);
    /* A child that ends in the ordinary way runs its destructors. */
    if (!t_under_valgrind())
        IN_CHILD(exit(0));

    /* With requests in flight. */
    static unsigned char buffers[2][T_CHUNK];
    struct t_completions completions = {0};
    cachefs_completion completion;
    memory.hold = true;
    CHECK_OK(cachefs_read_async(file, buffers[0], T_CHUNK, T_CHUNK, t_complete, &completions,
                                NULL));
    CHECK_OK(cachefs_queue_read(queue, file, buffers[1], T_CHUNK, 2 * T_CHUNK, 1));
    CHECK(cachefs_queue_submit(queue) >= 0);
    CHECK_SOON(t_origin_held(&memory) == 2);
    IN_CHILD(t_check_file_refused(file, -ECHILD));
    t_origin_release(&memory);
    CHECK_EQ(t_completion(&completions, 1).result, T_CHUNK);
    CHECK_EQ(cachefs_queue_wait(queue, &completion, 1, 1, -1), 1);
    CHECK_EQ(completion.result, T_CHUNK);
    CHECK_CONTENT(buffers[0], T_CHUNK, SEED, T_CHUNK);
    CHECK_CONTENT(buffers[1], T_CHUNK, SEED, 2 * T_CHUNK);

    for (int pass = 0; pass < 2; pass++)
        CHECK_READ(file, SIZE, SEED, SIZE, 0);
    cachefs_queue_close(queue);
    cachefs_file_close(file);
    cachefs_origin_close(origin);
    cachefs_cache_close(cache);
    CHECK_EQ(memory.frees, 1);
    return 0;
}

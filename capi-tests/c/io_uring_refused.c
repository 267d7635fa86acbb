/*
 * Where io_uring is refused the cache runs on psync, reads right in every way and
 * says why; asked for by name, the engine is an error. The refusal is a real one,
 * by a seccomp filter, as containers have it.
 */
#include "t.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { SIZE = 3 * T_CHUNK + 17, SEED = 60 };

/* From now on the calls of io_uring fail with this errno, for this process. */
static void refuse_io_uring(unsigned error) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 3, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_enter, 2, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_register, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
    };
    struct sock_fprog program = {.len = sizeof code / sizeof *code, .filter = code};
    CHECK_EQ(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    CHECK_EQ(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0), 0);
}

static void check_every_way(cachefs_cache *cache) {
    cachefs_origin *origin = t_origin_open_dir(cache);
    cachefs_file *file = t_file_open(origin, "file");
    static unsigned char buffer[SIZE];
    for (int pass = 0; pass < 2; pass++) {
        CHECK_READ(file, SIZE, SEED, SIZE, 0);

        struct t_completions completions = {0};
        CHECK_OK(cachefs_read_async(file, buffer, SIZE, 0, t_complete, &completions, NULL));
        CHECK_EQ(t_completion(&completions, 1).result, SIZE);
        CHECK_CONTENT(buffer, SIZE, SEED, 0);

        memset(buffer, 0, sizeof buffer);
        cachefs_queue *queue = t_queue_open(cache, 4, 0);
        cachefs_completion done;
        CHECK_OK(cachefs_queue_read(queue, file, buffer, SIZE, 0, 1));
        CHECK_EQ(cachefs_queue_wait(queue, &done, 1, 1, -1), 1);
        CHECK_EQ(done.result, SIZE);
        CHECK_CONTENT(buffer, SIZE, SEED, 0);
        cachefs_queue_close(queue);
    }
    CHECK_EQ(cachefs_fill(file, 0, CACHEFS_TO_END, NULL, NULL), SIZE);
    cachefs_file_close(file);
    cachefs_origin_close(origin);
}

static void check_refused(cachefs_cache_options options, unsigned error) {
    refuse_io_uring(error);
    options.engine = CACHEFS_ENGINE_AUTO;
    cachefs_cache *cache = NULL;
    CHECK_OK(cachefs_cache_open(t_path("cache-%u", error), &options, &cache));
    cachefs_report report = {.struct_size = sizeof report};
    CHECK_OK(cachefs_cache_report(cache, &report));
    CHECK_EQ(report.engine, CACHEFS_ENGINE_PSYNC);
    CHECK(strstr(report.engine_reason, "seccomp") != NULL);
    printf("%s\n", report.engine_reason);
    check_every_way(cache);
    cachefs_cache_close(cache);

    cache = NULL;
    options.engine = CACHEFS_ENGINE_URING;
    CHECK_ERROR(cachefs_cache_open(t_path("cache-%u", error), &options, &cache), -(int)error);
    CHECK(cache == NULL);
}

int main(void) {
    if (t_under_valgrind())
        t_skip("valgrind's own calls would be filtered, too");
    t_make_origin_file("file", SIZE, SEED);
    /* Before the filter, since it looks for the engine under test. */
    cachefs_cache_options options = t_options();
    const unsigned errors[] = {EPERM, ENOSYS};
    for (unsigned i = 0; i < 2; i++) {
        /* A filter cannot be taken back, so each has a process of its own. */
        fflush(stdout);
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            check_refused(options, errors[i]);
            exit(0);
        }
        int status;
        CHECK_EQ(waitpid(child, &status, 0), child);
        CHECK_EQ(status, 0);
    }
    return 0;
}

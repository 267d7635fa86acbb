/*
 * A file system that stops answering, from capi-tests/hung_fs.rs: a real one, by FUSE,
 * served by a process of its own. It is mounted in a mount namespace of the test.
 */
#ifndef T_HUNG_H
#define T_HUNG_H

#include "t_mount.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

struct t_hung_fs {
    pid_t server;
    FILE *commands;
    FILE *answers;
};

/* Its next line without the line feed; skips the test if it could not mount. */
T_HELPER const char *t_hung_answer(struct t_hung_fs *fs) {
    static char line[256];
    CHECK(fgets(line, sizeof line, fs->answers) != NULL);
    line[strcspn(line, "\n")] = '\0';
    return line;
}

/* Does a command; returns how many requests are kept unanswered then. */
T_HELPER unsigned t_hung(struct t_hung_fs *fs, const char *command) {
    CHECK(fprintf(fs->commands, "%s\n", command) > 0);
    CHECK_EQ(fflush(fs->commands), 0);
    return (unsigned)strtoul(t_hung_answer(fs), NULL, 10);
}

/* Makes `name` and mounts the directory `shown` of the test on it, before any thread. */
T_HELPER void t_hung_mount(struct t_hung_fs *fs, const char *name, const char *shown) {
    int in[2], out[2];
    const char *program = getenv("T_HUNG_FS");
    if (program == NULL)
        t_skip("T_HUNG_FS is not set");
    if (t_under_valgrind())
        t_skip("valgrind lets nobody run while one thread hangs in a file system");
    CHECK_EQ(mkdir(t_path("%s", name), 0755), 0);
    t_enter_namespace();
    if (mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) != 0)
        t_skip("mounts cannot be made private: %s", strerror(errno));
    CHECK_EQ(pipe2(in, O_CLOEXEC), 0);
    CHECK_EQ(pipe2(out, O_CLOEXEC), 0);
    fs->server = fork();
    CHECK(fs->server >= 0);
    if (fs->server == 0) {
        /* When the test dies, what it waits for in the kernel ends with the server. */
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(in[0], STDIN_FILENO);
        dup2(out[1], STDOUT_FILENO);
        execl(program, program, t_path("%s", name), t_path("%s", shown), (char *)NULL);
        _exit(127);
    }
    CHECK_EQ(close(in[0]), 0);
    CHECK_EQ(close(out[1]), 0);
    fs->commands = fdopen(in[1], "w");
    fs->answers = fdopen(out[0], "r");
    CHECK(fs->commands != NULL && fs->answers != NULL);
    const char *line = t_hung_answer(fs);
    if (strcmp(line, "ready") != 0)
        t_skip("%s", line);
}

/* Ends the server; what is under way in the file system fails. */
T_HELPER void t_hung_end(struct t_hung_fs *fs) {
    int status;
    CHECK_EQ(fclose(fs->commands), 0);
    CHECK_EQ(waitpid(fs->server, &status, 0), fs->server);
    CHECK_EQ(status, 0);
    CHECK_EQ(fclose(fs->answers), 0);
}

/* --- what the library says ---------------------------------------------------- */

static pthread_mutex_t t_log_lock = PTHREAD_MUTEX_INITIALIZER;
static char t_log_text[65536];

/* For `log` in the options. */
T_HELPER void t_log(void *user, uint32_t level, const char *text) {
    (void)user, (void)level;
    pthread_mutex_lock(&t_log_lock);
    size_t length = strlen(t_log_text);
    snprintf(t_log_text + length, sizeof t_log_text - length, "%s\n", text);
    pthread_mutex_unlock(&t_log_lock);
}

/* Checks that a message with this text has come. */
T_HELPER void t_check_log(const char *file, int line, const char *text) {
    pthread_mutex_lock(&t_log_lock);
    bool said = strstr(t_log_text, text) != NULL;
    pthread_mutex_unlock(&t_log_lock);
    if (!said)
        t_fail(file, line, "the log does not say \"%s\":\n%s", text, t_log_text);
}

#define CHECK_LOG(text) t_check_log(__FILE__, __LINE__, text)

/* Options for the engine under test, a log, and a close that gives up soon. */
T_HELPER cachefs_cache_options t_hung_options(void) {
    cachefs_cache_options options = t_options();
    options.close_timeout_ms = 500;
    options.log = t_log;
    return options;
}

/* Closes a cache, in a time near its limit. */
T_HELPER void t_close_in_time(cachefs_cache *cache) {
    int64_t begin = t_now_ns();
    CHECK_OK(cachefs_cache_close(cache));
    /* Twenty times the limit, for a machine under load: a hang would be longer. */
    CHECK(t_now_ns() - begin < INT64_C(10000000000));
}

/* The same of a file: it never waits for the file system. */
T_HELPER void t_file_close_in_time(cachefs_file *file) {
    int64_t begin = t_now_ns();
    cachefs_file_close(file);
    CHECK(t_now_ns() - begin < INT64_C(10000000000));
}

/* What stays behind is said: operations in the kernel, or threads inside calls. */
T_HELPER void t_check_left_behind(uint32_t engine) {
    if (engine == CACHEFS_ENGINE_PSYNC)
        CHECK_LOG("did not return: their threads are left there");
    else
        CHECK_LOG("their memory is leaked");
}

/* --- a read that blocks, on a thread of its own --------------------------------- */

struct t_blocked {
    pthread_t thread;
    cachefs_file *file;
    unsigned char *buffer;
    uint64_t length, offset;
    int64_t result;
};

T_HELPER void *t_blocked_read(void *user) {
    struct t_blocked *read = user;
    read->result = cachefs_read(read->file, read->buffer, read->length, read->offset);
    return NULL;
}

T_HELPER void t_blocked_start(struct t_blocked *read) {
    CHECK_EQ(pthread_create(&read->thread, NULL, t_blocked_read, read), 0);
}

T_HELPER int64_t t_blocked_result(struct t_blocked *read) {
    CHECK_EQ(pthread_join(read->thread, NULL), 0);
    return read->result;
}

#endif /* T_HUNG_H */

/*
 * Cancels a thread in a function that waits, and says how that has ended. The first argument
 * is a FIFO that nobody writes to, or a file that a child has locked.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *path, *what;
static int locked, cleaned;

static void clean(void *unused) {
    (void)unused;
    cleaned = 1;
}

static void *wait_in(void *unused) {
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    pthread_cleanup_push(clean, NULL);
    if (!strcmp(what, "open")) open(path, O_RDONLY);
    if (!strcmp(what, "open64")) open64(path, O_RDONLY);
    if (!strcmp(what, "openat")) openat(AT_FDCWD, path, O_RDONLY);
    if (!strcmp(what, "openat64")) openat64(AT_FDCWD, path, O_RDONLY);
    if (!strcmp(what, "creat")) creat(path, 0600);
    if (!strcmp(what, "fopen") && !fopen(path, "r")) exit(3);
    if (!strcmp(what, "fopen64") && !fopen64(path, "r")) exit(3);
    if (!strcmp(what, "freopen") && !freopen(path, "r", stdin)) exit(3);
    if (!strcmp(what, "fcntl")) fcntl(locked, F_SETLKW, &lock);
    if (!strcmp(what, "lockf") && lockf(locked, F_LOCK, 0)) exit(3);
    pthread_cleanup_pop(0);
    return unused;
}

int main(int count, char **words) {
    if (count != 3) return 2;
    path = words[1];
    what = words[2];
    int needs_lock = !strcmp(what, "fcntl") || !strcmp(what, "lockf");
    pid_t child = 0;
    if (needs_lock) {
        int ready[2];
        if (pipe(ready)) return 1;
        child = fork();
        locked = open(path, O_RDWR);
        if (child == 0) {
            int got = lockf(locked, F_LOCK, 0);
            if (write(ready[1], "", 1) != 1 || got) _exit(1);
            /* until the parent ends it */
            for (;;) pause();
        }
        char byte;
        if (read(ready[0], &byte, 1) != 1) return 1;
    }
    pthread_t thread;
    if (pthread_create(&thread, NULL, wait_in, NULL)) return 1;
    /* both ways are to end alike whether it waits already or not */
    usleep(50000);
    pthread_cancel(thread);
    void *result;
    pthread_join(thread, &result);
    if (child > 0) {
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
    }
    printf("%s %d\n", result == PTHREAD_CANCELED ? "cancelled" : "returned", cleaned);
    return 0;
}

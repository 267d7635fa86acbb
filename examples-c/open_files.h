/*
 * Files of an origin that are kept open: a bounded number, the least recently
 * used one makes room. Opening asks the origin for the file's version, and a far
 * origin may take its time, so it is done on threads made for it; everything
 * else belongs to one thread and never waits.
 */
#ifndef OPEN_FILES_H
#define OPEN_FILES_H

#include <cachefs.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    OPENERS = 4,                 /* threads, so that one slow file does not keep the others */
    OPEN_FILE_ERROR_BYTES = 256, /* of an error's text, with its NUL */
};

enum open_file_state { FILE_UNUSED, FILE_OPENING, FILE_OPEN, FILE_FAILED };

struct open_file {
    enum open_file_state state;
    cachefs_file *file;                /* when it is open */
    int32_t result;                    /* negative when it has failed */
    char error[OPEN_FILE_ERROR_BYTES]; /* why */
    void *waiting;                     /* the user's: who waits for the end of the opening */

    /* What follows is of open_files.c. */
    char *path;
    uint32_t hash;
    unsigned users;
    bool retired; /* not to be found any more; goes with its last user */
    int64_t asked_at_ms;
    uint64_t used_at;
    struct open_file *next;
};

struct open_files {
    cachefs_origin *origin;
    int64_t recheck_ms;
    void (*wake)(void);
    struct open_file *places;
    unsigned limit;
    unsigned open; /* places in use */
    uint64_t clock;

    pthread_t openers[OPENERS];
    unsigned started;
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t work;
    struct open_file *to_open, *last_to_open;
    struct open_file *opened;
    unsigned busy;
    bool stop;
};

/*
 * `limit` files are kept open; one that was opened longer than `recheck_ms` ago
 * is opened anew when it is next asked for, which tells whether it has changed.
 * `wake` is called on any thread, and asks for a call of open_files_opened() on
 * the one of everything else. Returns 0, or a negative errno.
 */
int open_files_init(struct open_files *files, cachefs_origin *origin, unsigned limit,
                    int64_t recheck_ms, void (*wake)(void));

/*
 * Finds the file, or begins to open it. Returns a place that stays as it is
 * until open_files_put(), but for the end of its opening; or NULL: all places
 * are in use.
 */
struct open_file *open_files_get(struct open_files *files, const char *path);

void open_files_put(struct open_files *files, struct open_file *file);

/* One whose opening has ended, well or not; NULL when there is none. */
struct open_file *open_files_opened(struct open_files *files);

/* Closes the files, and ends the threads, but for those that wait for an origin. */
void open_files_destroy(struct open_files *files);

#endif

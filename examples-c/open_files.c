#include "open_files.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int64_t now_ms(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

/* FNV-1a, which saves most comparisons of paths. */
static uint32_t hash_of(const char *path) {
    uint32_t hash = 2166136261u;
    for (; *path != '\0'; path++)
        hash = (hash ^ (unsigned char)*path) * 16777619u;
    return hash;
}

/* --- on the openers --------------------------------------------------------- */

static void open_one(struct open_files *files, struct open_file *file) {
    file->result = cachefs_file_open(files->origin, file->path, 0, &file->file);
    /* The text is of the thread that made the call. */
    if (file->result != 0)
        snprintf(file->error, sizeof file->error, "%s", cachefs_last_error());
}

static void *opener(void *argument) {
    struct open_files *files = argument;
    pthread_mutex_lock(&files->lock);
    for (;;) {
        while (files->to_open == NULL && !files->stop)
            pthread_cond_wait(&files->work, &files->lock);
        if (files->stop)
            break;
        struct open_file *file = files->to_open;
        files->to_open = file->next;
        files->busy++;
        pthread_mutex_unlock(&files->lock);
        open_one(files, file);
        pthread_mutex_lock(&files->lock);
        files->busy--;
        bool first = files->opened == NULL;
        file->next = files->opened;
        files->opened = file;
        if (first && !files->stop) {
            pthread_mutex_unlock(&files->lock);
            files->wake();
            pthread_mutex_lock(&files->lock);
        }
    }
    pthread_mutex_unlock(&files->lock);
    return NULL;
}

/* --- on the thread of everything else --------------------------------------- */

static int start_openers(struct open_files *files) {
    sigset_t all, before;
    sigfillset(&all);
    /* Signals are for the program's own threads. */
    pthread_sigmask(SIG_BLOCK, &all, &before);
    int result = 0;
    while (files->started < OPENERS && result == 0) {
        result = pthread_create(&files->openers[files->started], NULL, opener, files);
        if (result == 0)
            files->started++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return -result;
}

int open_files_init(struct open_files *files, cachefs_origin *origin, unsigned limit,
                    int64_t recheck_ms, void (*wake)(void)) {
    memset(files, 0, sizeof *files);
    files->origin = origin;
    files->limit = limit;
    files->recheck_ms = recheck_ms;
    files->wake = wake;
    pthread_mutex_init(&files->lock, NULL);
    pthread_cond_init(&files->work, NULL);
    files->places = calloc(limit, sizeof *files->places);
    if (files->places == NULL)
        return -ENOMEM;
    return start_openers(files);
}

static void vacate(struct open_files *files, struct open_file *file) {
    cachefs_file_close(file->file);
    free(file->path);
    memset(file, 0, sizeof *file);
    files->open--;
}

static void retire(struct open_files *files, struct open_file *file) {
    file->retired = true;
    if (file->users == 0)
        vacate(files, file);
}

static struct open_file *find(struct open_files *files, const char *path, uint32_t hash) {
    for (unsigned i = 0; i < files->limit; i++) {
        struct open_file *file = &files->places[i];
        if (file->hash == hash && file->state != FILE_UNUSED && !file->retired &&
            strcmp(file->path, path) == 0)
            return file;
    }
    return NULL;
}

/* An unused place; else that of the file which was not used for the longest time. */
static struct open_file *make_room(struct open_files *files) {
    struct open_file *oldest = NULL;
    for (unsigned i = 0; i < files->limit; i++) {
        struct open_file *file = &files->places[i];
        if (file->state == FILE_UNUSED)
            return file;
        if (file->users == 0 && (oldest == NULL || file->used_at < oldest->used_at))
            oldest = file;
    }
    if (oldest != NULL)
        vacate(files, oldest);
    return oldest;
}

static void begin_to_open(struct open_files *files, struct open_file *file) {
    pthread_mutex_lock(&files->lock);
    if (files->to_open == NULL)
        files->to_open = file;
    else
        files->last_to_open->next = file;
    files->last_to_open = file;
    pthread_cond_signal(&files->work);
    pthread_mutex_unlock(&files->lock);
}

static struct open_file *add(struct open_files *files, const char *path, uint32_t hash,
                             int64_t now) {
    char *copy = strdup(path);
    struct open_file *file = copy == NULL ? NULL : make_room(files);
    if (file == NULL) {
        free(copy);
        return NULL;
    }
    *file = (struct open_file){
        .state = FILE_OPENING, .path = copy, .hash = hash, .asked_at_ms = now};
    files->open++;
    begin_to_open(files, file);
    return file;
}

struct open_file *open_files_get(struct open_files *files, const char *path) {
    uint32_t hash = hash_of(path);
    int64_t now = now_ms();
    struct open_file *file = find(files, path, hash);
    if (file != NULL && file->state == FILE_OPEN && now - file->asked_at_ms >= files->recheck_ms) {
        retire(files, file);
        file = NULL;
    }
    if (file == NULL)
        file = add(files, path, hash, now);
    if (file != NULL) {
        file->users++;
        file->used_at = ++files->clock;
    }
    return file;
}

void open_files_put(struct open_files *files, struct open_file *file) {
    file->users--;
    if (file->users == 0 && file->retired)
        vacate(files, file);
}

struct open_file *open_files_opened(struct open_files *files) {
    pthread_mutex_lock(&files->lock);
    struct open_file *file = files->opened;
    if (file != NULL)
        files->opened = file->next;
    pthread_mutex_unlock(&files->lock);
    if (file == NULL)
        return NULL;
    file->next = NULL;
    file->state = file->result == 0 ? FILE_OPEN : FILE_FAILED;
    /* Those who wait get the error; who comes later asks again. */
    if (file->state == FILE_FAILED)
        file->retired = true;
    return file;
}

void open_files_destroy(struct open_files *files) {
    pthread_mutex_lock(&files->lock);
    files->stop = true;
    bool busy = files->busy > 0;
    pthread_cond_broadcast(&files->work);
    pthread_mutex_unlock(&files->lock);
    /* An origin that is gone may never answer; then only the end of the process helps. */
    if (busy)
        return;
    while (files->started > 0)
        pthread_join(files->openers[--files->started], NULL);
    for (unsigned i = 0; i < files->limit && files->places != NULL; i++) {
        if (files->places[i].state != FILE_UNUSED)
            vacate(files, &files->places[i]);
    }
    free(files->places);
    files->places = NULL;
    pthread_cond_destroy(&files->work);
    pthread_mutex_destroy(&files->lock);
}

/*
 * The functions of the unwinder that Rust's runtime names, each looked up when it is called. A
 * thread that is cancelled while it opens a file is unwound through this library, by an
 * unwinder that is in the program then; nothing else unwinds here. Without these functions, every
 * program would load libgcc_s.so.1 at its start, which takes longer than all else of this
 * library.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <unwind.h>

static void *function(const char *name) {
    void *found = dlsym(RTLD_DEFAULT, name);
    if (!found) {
        /* glibc loads it by this name as well, where no other library sees it */
        void *library = dlopen("libgcc_s.so.1", RTLD_LAZY);
        found = library ? dlsym(library, name) : NULL;
    }
    if (!found) abort();
    return found;
}

/* The function behind a name, with the type of that. */
#define OF(name) ((__typeof__(&name))function(#name))

_Unwind_Reason_Code _Unwind_RaiseException(struct _Unwind_Exception *exception) {
    return OF(_Unwind_RaiseException)(exception);
}

void _Unwind_Resume(struct _Unwind_Exception *exception) {
    OF(_Unwind_Resume)(exception);
    abort();
}

_Unwind_Reason_Code _Unwind_Backtrace(_Unwind_Trace_Fn each, void *argument) {
    return OF(_Unwind_Backtrace)(each, argument);
}

void _Unwind_SetGR(struct _Unwind_Context *context, int index, _Unwind_Word value) {
    OF(_Unwind_SetGR)(context, index, value);
}

_Unwind_Ptr _Unwind_GetIP(struct _Unwind_Context *context) {
    return OF(_Unwind_GetIP)(context);
}

_Unwind_Ptr _Unwind_GetIPInfo(struct _Unwind_Context *context, int *is_before) {
    return OF(_Unwind_GetIPInfo)(context, is_before);
}

void _Unwind_SetIP(struct _Unwind_Context *context, _Unwind_Ptr value) {
    OF(_Unwind_SetIP)(context, value);
}

void *_Unwind_GetLanguageSpecificData(struct _Unwind_Context *context) {
    return OF(_Unwind_GetLanguageSpecificData)(context);
}

_Unwind_Ptr _Unwind_GetRegionStart(struct _Unwind_Context *context) {
    return OF(_Unwind_GetRegionStart)(context);
}

_Unwind_Ptr _Unwind_GetDataRelBase(struct _Unwind_Context *context) {
    return OF(_Unwind_GetDataRelBase)(context);
}

_Unwind_Ptr _Unwind_GetTextRelBase(struct _Unwind_Context *context) {
    return OF(_Unwind_GetTextRelBase)(context);
}

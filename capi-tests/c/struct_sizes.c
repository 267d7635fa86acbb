/*
 * The sizes of the public structures are part of the ABI. Those with
 * struct_size may grow in a release, which then changes this file; the others
 * never do.
 */
#include "t.h"

_Static_assert(sizeof(void *) == 8, "these are the sizes on 64-bit machines");

_Static_assert(sizeof(cachefs_completion) == 64, "never grows: queues return arrays of it");
_Static_assert(sizeof(cachefs_request) == 64, "grows by request_size of cachefs_queue_push");

_Static_assert(sizeof(cachefs_cache_options) == 272, "");
_Static_assert(sizeof(cachefs_option_info) == 40, "");
_Static_assert(sizeof(cachefs_report) == 2096, "");
_Static_assert(sizeof(cachefs_origin_attr) == 88, "");
_Static_assert(sizeof(cachefs_origin_ops) == 40, "");
_Static_assert(sizeof(cachefs_origin_options) == 120, "");
_Static_assert(sizeof(cachefs_origin_report_info) == 48, "");
_Static_assert(sizeof(cachefs_file_info) == 48, "");
_Static_assert(sizeof(cachefs_residency) == 40, "");
_Static_assert(sizeof(cachefs_queue_options) == 16, "");
_Static_assert(sizeof(cachefs_statistics) == 456, "");
_Static_assert(sizeof(cachefs_latency) == 48, "never grows: it is a part of others");
_Static_assert(sizeof(cachefs_engine_statistics) == 360, "");

_Static_assert(offsetof(cachefs_cache_options, struct_size) == 0, "");
_Static_assert(offsetof(cachefs_option_info, struct_size) == 0, "");
_Static_assert(offsetof(cachefs_report, struct_size) == 0, "");
_Static_assert(offsetof(cachefs_origin_attr, struct_size) == 0, "");
_Static_assert(offsetof(cachefs_origin_ops, struct_size) == 0, "");
_Static_assert(offsetof(cachefs_origin_options, struct_size) == 0, "");
_Static_assert(offsetof(cachefs_origin_report_info, struct_size) == 0, "");
_Static_assert(offsetof(cachefs_file_info, struct_size) == 0, "");
_Static_assert(offsetof(cachefs_residency, struct_size) == 0, "");
_Static_assert(offsetof(cachefs_queue_options, struct_size) == 0, "");
_Static_assert(offsetof(cachefs_statistics, struct_size) == 0, "");
_Static_assert(offsetof(cachefs_engine_statistics, struct_size) == 0, "");

int main(void) {
    return 0;
}

//! Scenarios that run through every door (the core's API and the C functions)
//! and on every engine, each defined once.
//!
//! `auto` is io_uring where the system grants it, and what a program gets where
//! it does not: the same tests run in both, and one of them tells which it is.

mod c_door;
mod child;
mod core_door;
mod crowd;
mod device;
mod door;
mod faults;
mod forking;
mod killing;
mod locks;
mod log;
mod origin;
mod power;
mod qos;
mod random;
mod scenarios;
mod sharing;
mod slot_damage;
mod slow_device;
mod stuck;
mod trimming;
mod verifying;
mod volume;

/// Expands each scenario into a test per door and engine; new objects are direct
/// or not.
macro_rules! scenarios {
    (direct: $direct:literal; $($module:ident: $($scenario:ident),+;)+) => {
        mod core_auto {
            $crate::tests::door_tests!(
                core_door::CoreDoor, $direct, Auto; $($module: $($scenario),+;)+
            );
        }
        mod core_psync {
            $crate::tests::door_tests!(
                core_door::CoreDoor, $direct, Psync; $($module: $($scenario),+;)+
            );
        }
        mod core_sim {
            $crate::tests::door_tests!(
                core_door::SimDoor, $direct, Psync; $($module: $($scenario),+;)+
            );
        }
        mod c_auto {
            $crate::tests::door_tests!(
                c_door::CDoor, $direct, Auto; $($module: $($scenario),+;)+
            );
        }
        mod c_psync {
            $crate::tests::door_tests!(
                c_door::CDoor, $direct, Psync; $($module: $($scenario),+;)+
            );
        }
    };
}

macro_rules! door_tests {
    (
        $door_module:ident::$door:ident, $direct:literal, $engine:ident;
        $($module:ident: $($scenario:ident),+;)+
    ) => {
        $($(
            #[test]
            fn $scenario() {
                $crate::tests::scenarios::$module::$scenario::<
                    $crate::tests::$door_module::$door<$direct>,
                >(cachefs_core::EngineChoice::$engine);
            }
        )+)+
    };
}
pub(crate) use door_tests;

scenarios! {
    direct: false;
    bypass: what_is_not_kept_goes_straight_to_its_reader,
        a_bypassed_read_of_a_changed_file_starts_again;
    environment: the_engine_is_what_the_system_grants,
        an_engine_that_is_refused_is_an_error_only_by_name,
        registered_memory_works_whether_or_not_it_can_be_pinned;
    reading: random_ranges_equal_the_origin_by_each_way, many_readers_share_one_fetch,
        a_second_pass_does_no_origin_io, a_read_ends_at_the_end_of_the_file,
        each_completion_says_where_its_bytes_came_from,
        misses_all_over_a_large_file_are_stored;
    versions: a_file_that_changed_between_opens_is_served_anew,
        a_replaced_file_is_served_anew, no_read_mixes_versions,
        a_file_that_shrinks_while_it_is_read_is_served_whole;
    filling: a_file_of_the_future_is_not_waited_for,
        a_filled_file_is_complete_and_has_a_descriptor, a_fill_can_be_cancelled,
        a_fill_without_room_says_so, progress_goes_from_nothing_to_all;
    copying: files_of_every_size_are_copied_by_each_way,
        a_memory_file_system_is_copied_from_and_to,
        holes_are_not_copied_and_stay_holes,
        a_file_that_changed_since_it_was_opened_is_copied_as_it_is,
        a_file_that_keeps_changing_is_copied_as_it_is_at_last,
        a_copy_that_is_cancelled_completes_once_and_can_go_on,
        closing_ends_a_copy,
        readers_join_a_copy,
        what_another_process_writes_is_waited_for,
        processes_that_copy_one_file_agree,
        a_device_that_fills_up_during_a_copy_says_so,
        blocks_are_shared_where_the_file_system_can,
        a_way_that_is_refused_is_followed_by_a_plainer_one,
        blocks_are_allocated_before_direct_writes_and_not_for_holes;
    failing: an_origin_error_is_the_readers_and_is_not_cached,
        a_short_origin_read_is_an_error_and_never_zeros,
        an_origin_that_hangs_times_out_and_recovers,
        closing_completes_what_hangs, a_cancelled_read_completes_once,
        bytes_that_cannot_be_read_back_come_from_the_origin,
        remains_of_a_killed_process_are_removed;
    leasing: leased_ranges_equal_the_origin, what_is_missing_is_fetched_for_a_lease,
        a_lease_ends_at_the_end_of_the_file, what_is_in_memory_is_leased_there,
        a_lease_outlives_file_cache_and_directory, a_closed_cache_gives_no_lease,
        a_lease_stays_when_its_file_is_replaced, no_lease_mixes_versions,
        leases_stay_while_others_are_evicted, leases_are_limited,
        leased_bytes_that_cannot_be_read_back_come_from_the_origin;
    reboots: what_another_boot_left_is_verified_and_served,
        a_damaged_chunk_is_fetched_again_and_the_rest_stays,
        a_completion_says_that_a_checksum_failed,
        a_fill_verifies_what_is_there_and_fetches_the_rest,
        torn_metadata_serves_no_wrong_byte, what_a_living_process_uses_is_not_taken_over;
    verifying: damaged_chunks_are_found_and_fetched_again, damaged_metadata_cost_one_object,
        what_another_boot_left_can_be_verified_before_its_use;
    limits: files_of_16_tib_are_cached_and_no_larger_ones,
        the_cache_stays_within_its_capacity, the_least_recently_opened_file_is_evicted,
        a_miss_says_that_there_was_no_room, a_fill_waits_for_room_that_is_being_made,
        a_fill_waits_for_room_and_not_for_ever,
        a_file_larger_than_the_cache_is_still_read, a_full_queue_takes_no_more,
        callback_requests_are_limited;
    direct_copy: a_large_cold_file_is_copied_past_the_page_cache,
        an_unfinished_direct_copy_is_read_and_finished,
        a_direct_copy_can_be_read_by_another_process_meanwhile;
    memory: what_is_read_often_comes_from_memory_by_each_way, memory_stays_within_its_limit,
        a_changed_file_is_not_served_from_memory, a_descriptor_tells_of_what_was_over_at_once;
    places: many_that_begin_one_cache_agree, the_directory_remembers_its_limit,
        nothing_leads_out_of_the_origin, what_is_no_regular_file_has_its_errno,
        a_directory_that_is_no_cache_is_refused, a_newer_format_is_refused,
        an_unwritable_cache_passes_through, a_full_cache_device_passes_through,
        an_origin_inside_the_cache_is_refused;
    readahead: a_run_of_reads_finds_its_chunks_there, a_backward_run_finds_its_chunks_there,
        a_strided_run_finds_its_chunks_there, two_readers_of_one_file_are_told_apart,
        a_run_through_what_is_cached_goes_on_ahead_of_it,
        a_look_at_the_head_of_a_file_gets_no_more_than_its_chunks,
        random_reads_get_no_more_than_their_chunks, readahead_can_be_switched_off,
        what_is_ahead_stays_within_its_limit, a_reader_joins_what_is_on_its_way,
        an_error_ahead_is_nobodys_error, a_closed_file_gives_up_what_is_ahead,
        closing_ends_what_hangs_ahead, reads_ahead_leave_a_thread_to_readers;
    sharing: what_several_processes_miss_at_once_is_fetched_once,
        what_a_stopped_process_is_fetching_is_read_from_the_origin;
    unreachable: what_fails_for_a_moment_is_tried_again,
        what_keeps_failing_fails_after_its_retries,
        what_tells_of_the_file_is_not_tried_again,
        a_retry_that_waits_can_be_cancelled_and_has_its_time,
        an_origin_that_is_down_is_left_alone_and_found_again,
        a_file_of_an_origin_that_is_down_is_served_stale_within_its_limit,
        a_stale_file_is_fresh_once_the_origin_answers,
        what_is_missing_of_a_stale_file_is_an_error_and_not_an_end,
        what_was_invalidated_is_not_served_stale,
        an_origin_that_fails_at_random_gives_right_bytes_or_an_error;
    validation: a_believed_file_is_opened_without_asking,
        a_file_is_asked_for_again_after_its_time,
        what_is_missing_of_a_believed_file_is_of_the_version_that_is_there,
        what_is_missing_of_a_believed_file_that_was_replaced_is_of_the_new_one,
        what_is_missing_of_a_believed_file_that_has_gone_is_a_stale_handle,
        an_invalidated_file_is_asked_for_at_its_next_read,
        what_was_invalidated_and_is_the_same_comes_from_the_cache,
        an_invalidation_reaches_every_cache_of_the_directory,
        an_invalidation_from_above_reaches_what_is_below,
        requests_on_one_file_ask_once,
        an_origin_that_hangs_when_it_is_asked_times_out_and_recovers,
        closing_ends_what_is_being_asked_for,
        believed_files_that_were_closed_make_room,
        what_another_process_evicted_is_a_miss,
        what_an_origin_does_not_have_is_not_asked_for_again,
        files_that_change_and_are_invalidated_are_never_served_old;
    waiting: a_queue_descriptor_tells_of_every_completion, a_wait_ends_with_its_time;
}

/// Those that depend on how objects are read and written.
mod direct {
    scenarios! {
        direct: true;
        alignment: reads_of_any_alignment_equal_the_file,
            what_was_written_is_there_without_the_page_cache,
            an_object_is_used_in_its_own_mode,
            a_hit_does_not_wait_for_buffers_that_an_origin_has;
        memory: what_is_read_often_comes_from_memory_by_each_way, memory_stays_within_its_limit;
        leasing: leased_ranges_equal_the_origin, what_is_missing_is_fetched_for_a_lease,
            a_lease_ends_at_the_end_of_the_file, what_is_in_memory_is_leased_there,
            a_lease_outlives_file_cache_and_directory,
            a_lease_stays_when_its_file_is_replaced, leases_stay_while_others_are_evicted,
            leases_are_limited, leased_bytes_that_cannot_be_read_back_come_from_the_origin;
        reading: some_random_ranges_equal_the_origin, a_second_pass_does_no_origin_io,
            a_read_ends_at_the_end_of_the_file,
            each_completion_says_where_its_bytes_came_from;
        versions: a_file_that_changed_between_opens_is_served_anew,
            a_replaced_file_is_served_anew;
        filling: a_filled_file_is_complete_and_has_a_descriptor, a_fill_can_be_cancelled;
        copying: files_of_every_size_are_copied_by_each_way, holes_are_not_copied_and_stay_holes,
            a_file_that_changed_since_it_was_opened_is_copied_as_it_is,
            a_copy_that_is_cancelled_completes_once_and_can_go_on, readers_join_a_copy,
            processes_that_copy_one_file_agree, blocks_are_shared_where_the_file_system_can;
        verifying: damaged_chunks_are_found_and_fetched_again,
            what_another_boot_left_can_be_verified_before_its_use;
        reboots: what_another_boot_left_is_verified_and_served,
            a_damaged_chunk_is_fetched_again_and_the_rest_stays,
            a_completion_says_that_a_checksum_failed,
            a_fill_verifies_what_is_there_and_fetches_the_rest,
            torn_metadata_serves_no_wrong_byte, what_a_living_process_uses_is_not_taken_over;
        failing: bytes_that_cannot_be_read_back_come_from_the_origin;
    }
}

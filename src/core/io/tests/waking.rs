//! Engines that wake each other.

use super::*;
use std::sync::mpsc::channel;

on_each_engine!(
    a_nudge_wakes_one_that_sleeps,
    a_nudge_before_the_sleep_is_not_lost,
    a_nudge_of_one_that_is_gone_does_no_harm,
    threads_that_nudge_each_other_never_sleep_for_ever,
);

/// A psync engine has no ring: whoever nudges it has to wake it.
fn a_nudge_wakes_one_that_sleeps(make: Make) {
    for other in [make, make_psync as Make] {
        let (tell, told) = channel();
        let sleeper = std::thread::spawn(move || {
            let mut engine = other(8);
            tell.send(Some(engine.waker())).unwrap();
            for _ in 0..50 {
                let mut outcomes = Vec::new();
                engine.reap(Wait::For(1, None), &mut outcomes);
                assert!(outcomes.is_empty());
                tell.send(None).unwrap();
            }
        });
        let mut engine = make(8);
        let waker = told.recv().unwrap().expect("it comes first");
        for round in 0..50 {
            if round % 5 == 0 {
                std::thread::sleep(Duration::from_millis(2));
            }
            engine.nudge(&waker);
            engine.flush();
            assert!(told.recv_timeout(LIMIT).unwrap().is_none(), "round {round}");
        }
        sleeper.join().unwrap();
    }
}

fn a_nudge_before_the_sleep_is_not_lost(make: Make) {
    let (mut one, mut other) = (make(8), make(8));
    for _ in 0..20 {
        // A thousand are one.
        for _ in 0..1000 {
            one.nudge(&other.waker());
        }
        one.flush();
        let begin = Instant::now();
        other.reap(Wait::For(1, Some(begin + LIMIT)), &mut Vec::new());
        assert!(begin.elapsed() < LIMIT / 2);
        one.reap(Wait::No, &mut Vec::new());
    }
}

fn a_nudge_of_one_that_is_gone_does_no_harm(make: Make) {
    let (mut one, other) = (make(8), make(8));
    let waker = other.waker();
    drop(other);
    for _ in 0..3 {
        one.nudge(&waker);
        one.flush();
        one.reap(Wait::No, &mut Vec::new());
    }
    let file = file_with(&[7; 64]);
    let pool = Pool::new(1, 4096, Pages::Small).unwrap();
    one.push(1, read(&pool, &file, 64, 0)).unwrap();
    let outcomes = reap_all(&mut *one, 1);
    assert!(
        matches!(outcomes[0].result, Ok(Output::Bytes(64))),
        "{outcomes:?}"
    );
}

fn threads_that_nudge_each_other_never_sleep_for_ever(make: Make) {
    const ROUNDS: u64 = 500;
    let (give, take) = (channel(), channel());
    let play = move |give: std::sync::mpsc::Sender<Arc<dyn Wake>>,
                     take: std::sync::mpsc::Receiver<Arc<dyn Wake>>,
                     begins: bool| {
        let mut engine = make(8);
        give.send(engine.waker()).unwrap();
        let other = take.recv().unwrap();
        for round in 0..ROUNDS {
            if !begins || round > 0 {
                let begin = Instant::now();
                engine.reap(Wait::For(1, Some(begin + LIMIT)), &mut Vec::new());
                assert!(begin.elapsed() < LIMIT, "round {round}");
            }
            engine.nudge(&other);
            engine.flush();
        }
        // Neither goes before the other has been told.
        give.send(other).unwrap();
        take.recv().unwrap();
    };
    let ((give_one, take_one), (give_other, take_other)) = (give, take);
    let thread = std::thread::spawn(move || play(give_one, take_other, true));
    play(give_other, take_one, false);
    thread.join().unwrap();
}

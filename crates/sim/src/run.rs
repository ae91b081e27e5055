//! One seed, from the first start to the last check.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Once;

use tokio::runtime::{Builder, Runtime};
use tokio::task::LocalSet;

use crate::ledger::Anomaly;
use crate::life::{Scene, Until, live};
use crate::plan::{End, Plan};

/// How a run went.
#[derive(Clone, Debug)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// A hash over all events: the same for the same seed.
    pub trace: u64,
    /// How many events there were.
    pub events: u64,
    /// Records that were acknowledged.
    pub acked: u64,
    /// Milliseconds that passed in the simulation.
    pub simulated_ms: u64,
    /// The first broken promise.
    pub anomaly: Option<Anomaly>,
    /// The last events, one a line.
    pub last: String,
}

/// Lives the plan of a seed through.
///
/// # Panics
/// When the machine has no file descriptors for a runtime.
#[must_use]
pub fn run(seed: u64) -> Report {
    watch_panics();
    let scene = Rc::new(Scene::new(Plan::of(seed)));
    // One runtime for all lives: a clock that began anew would let the machine's time in.
    let runtime = Builder::new_current_thread().enable_all().start_paused(true).build();
    let runtime = runtime.expect("a runtime needs a few file descriptors and nothing else");
    for life in scene.plan.lives.clone() {
        let until = match life.end {
            End::Cut | End::Kill => Until::Dropped(life.ms),
            End::Stop => Until::Stopped(life.ms),
        };
        if !lived(&runtime, &scene, until) {
            break;
        }
        {
            // Outside of the runtime the clock would be the machine's.
            let _entered = runtime.enter();
            scene.note(format_args!("{:?}", life.end));
        }
        // After an orderly stop too: what was promised to be safe then had better be.
        if life.end == End::Cut || (life.end == End::Stop && scene.luck.below(2) == 0) {
            scene.world.disk().crash();
            scene.facts.crash(scene.luck.u64());
        }
        scene.world.disk().heal();
    }
    if scene.anomaly.borrow().is_none() {
        lived(&runtime, &scene, Until::Drained);
    }
    report(&runtime, &scene)
}

fn report(runtime: &Runtime, scene: &Scene) -> Report {
    let _entered = runtime.enter();
    let trace = scene.trace.borrow();
    Report {
        seed: scene.plan.seed,
        trace: trace.hash(),
        events: trace.count(),
        acked: scene.ledger.borrow().acked(),
        simulated_ms: scene.host.clock.now().mono_ms,
        anomaly: scene.anomaly.borrow().clone(),
        last: trace.last(),
    }
}

/// Lives one life and drops everything that still ran in it; whether all promises were kept.
fn lived(runtime: &Runtime, scene: &Rc<Scene>, until: Until) -> bool {
    let tasks = LocalSet::new();
    let life = catch_unwind(AssertUnwindSafe(|| tasks.block_on(runtime, live(scene.clone(), until))));
    let _entered = runtime.enter();
    scene.report(life.unwrap_or_else(|panic| Err(Anomaly::Panicked(text_of(panic.as_ref())))));
    drop(tasks);
    for text in PANICS.take() {
        scene.report(Err(Anomaly::Panicked(text)));
    }
    scene.anomaly.borrow().is_none()
}

thread_local! {
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// An actor that panics is restarted and nobody would notice; here every assertion counts.
fn watch_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANICS.with_borrow_mut(|panics| panics.push(info.to_string()));
            before(info);
        }));
    });
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message").to_owned()
}

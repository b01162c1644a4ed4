//! Which request gets which fault.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::fault::Fault;
use super::ops::Op;
use super::spec::Spec;
use crate::units::{BlockCount, Lba};

/// Keeps these draws apart from those of the windows, which have the same seed.
const STREAM: u64 = 0xD1F7_1A9E_C7ED_FA17;

/// A request, as conditions see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Site {
    /// The class of request that `op=` names.
    pub op: Op,
    /// The logical unit it goes to.
    pub lun: u16,
    /// The first block that the request is about.
    pub lba: Lba,
    /// How many it has; 0 where it has none.
    pub blocks: BlockCount,
    /// How many the disk has.
    pub disk: BlockCount,
}

/// When faults are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// As the request arrives: faults that are its answer.
    Arrival,
    /// As its data moves: all others.
    Data,
}

/// A fault that is to happen to a request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FaultHit {
    /// Where it comes from.
    pub spec: Spec,
    /// The block it hits, as its place in the request.
    pub index: u64,
}

/// All faults of a daemon. Shared by all its queues and logical units.
#[derive(Debug)]
pub struct Injector {
    state: Mutex<State>,
    armed: AtomicUsize,
}

#[derive(Debug)]
struct State {
    rules: Vec<Rule>,
    random: fastrand::Rng,
}

#[derive(Debug)]
struct Rule {
    spec: Spec,
    matched: u64,
    left: Option<u64>,
}

impl Injector {
    /// No faults yet; probabilities are drawn from `seed`.
    pub fn new(seed: u64) -> Self {
        let random = fastrand::Rng::with_seed(seed ^ STREAM);
        let state = State { rules: Vec::new(), random };
        Injector { state: Mutex::new(state), armed: AtomicUsize::new(0) }
    }

    /// Adds a fault.
    pub fn add(&self, spec: Spec) {
        let mut state = self.lock();
        state.rules.push(Rule { spec, matched: 0, left: spec.count });
        self.armed.store(state.rules.len(), Ordering::Release);
    }

    /// How many faults are still to come.
    pub fn count(&self) -> usize {
        self.armed.load(Ordering::Acquire)
    }

    /// Takes away the faults that are still to come, and tells them.
    pub fn disarm(&self) -> Vec<Spec> {
        let mut state = self.lock();
        self.armed.store(0, Ordering::Release);
        state.rules.drain(..).map(|rule| rule.spec).collect()
    }

    /// The faults of this request at this stage, in the order in which they were added.
    ///
    /// Costs one atomic load while there are none.
    pub fn draw(&self, site: &Site, stage: Stage) -> Vec<FaultHit> {
        if self.armed.load(Ordering::Acquire) == 0 {
            return Vec::new();
        }
        let mut state = self.lock();
        let State { rules, random } = &mut *state;
        // A request has one answer: what would be a second one waits for the next request.
        let most = if stage == Stage::Arrival { 1 } else { usize::MAX };
        let hits = rules.iter_mut().filter_map(|rule| rule.draw(site, stage, random));
        let hits = hits.take(most).collect();
        rules.retain(|rule| rule.left != Some(0));
        self.armed.store(rules.len(), Ordering::Release);
        hits
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rule {
    fn draw(&mut self, site: &Site, stage: Stage, random: &mut fastrand::Rng) -> Option<FaultHit> {
        let spec = self.spec;
        let index = hit(&spec, site, stage)?;
        self.matched = self.matched.saturating_add(1);
        if self.matched < spec.nth || random.f64() >= spec.probability {
            return None;
        }
        self.left = self.left.map(|left| left.saturating_sub(1));
        Some(FaultHit { spec, index })
    }
}

/// The place in the request of the block that a fault hits, where the request matches.
fn hit(spec: &Spec, site: &Site, stage: Stage) -> Option<u64> {
    let is_answer = spec.fault.status(site.op).is_some();
    let in_stage = is_answer == (stage == Stage::Arrival);
    let here = spec.ops.has(site.op) && spec.lun.is_none_or(|lun| lun == site.lun);
    if !in_stage || !here || !can_happen(spec.fault, site) {
        return None;
    }
    spec.first_hit(site.lba, site.blocks)
}

/// A misdirected write stays on the disk, and only what has more blocks than that can be torn.
fn can_happen(fault: Fault, site: &Site) -> bool {
    match fault {
        Fault::Misdirect(by) => misdirected(site.lba, by)
            .and_then(|lba| lba.checked_add(site.blocks))
            .is_some_and(|end| end.0 <= site.disk.0),
        Fault::Torn(stored) => stored < site.blocks.0,
        _ => true,
    }
}

/// The block that a misdirected write begins at, if there can be one.
pub fn misdirected(lba: Lba, by: i64) -> Option<Lba> {
    lba.0.checked_add_signed(by).map(Lba)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(op: Op, lba: u64, blocks: u64) -> Site {
        let (lba, blocks) = (Lba(lba), BlockCount(blocks));
        Site { op, lun: 0, lba, blocks, disk: BlockCount(1000) }
    }

    /// Which of `sites` are hit, and where.
    fn hits(spec: &str, seed: u64, sites: &[Site]) -> Vec<Option<u64>> {
        let injector = Injector::new(seed);
        injector.add(spec.parse().unwrap());
        let draw = |site| {
            let mut hits = injector.draw(site, Stage::Arrival);
            hits.extend(injector.draw(site, Stage::Data));
            assert!(hits.len() < 2);
            hits.first().map(|hit| hit.index)
        };
        sites.iter().map(draw).collect()
    }

    #[test]
    fn a_fault_happens_once_to_the_first_request_that_it_can_happen_to() {
        let sites = [site(Op::Read, 0, 8), site(Op::Write, 0, 8), site(Op::Write, 0, 8)];
        assert_eq!(hits("flip=guard", 0, &sites), [None, Some(0), None]);
        assert_eq!(hits("busy", 0, &sites), [Some(0), None, None]);
        assert_eq!(hits("flip=data,at=out", 0, &sites), [Some(0), None, None]);
        assert_eq!(hits("lost,count=all", 0, &sites), [None, Some(0), Some(0)]);
    }

    #[test]
    fn blocks_name_the_first_one_inside() {
        let sites = [(90, 10), (95, 10), (150, 1), (199, 4), (200, 4), (0, 0)];
        let sites = sites.map(|(lba, blocks)| site(Op::Write, lba, blocks));
        let hit = hits("lost,lba=100..200,count=all", 0, &sites);
        assert_eq!(hit, [None, Some(5), Some(0), Some(0), None, None]);
        assert_eq!(hits("busy,lba=0", 0, &[site(Op::Flush, 0, 0)]), [None]);
        assert_eq!(hits("busy", 0, &[site(Op::Flush, 0, 0)]), [Some(0)]);
    }

    #[test]
    fn nth_and_count() {
        let sites = [site(Op::Write, 0, 1); 6];
        let which = |spec: &str| -> Vec<bool> {
            hits(spec, 0, &sites).iter().map(Option::is_some).collect()
        };
        assert_eq!(which("lost,nth=3"), [false, false, true, false, false, false]);
        assert_eq!(which("lost,nth=3,count=2"), [false, false, true, true, false, false]);
        assert_eq!(which("lost,nth=5,count=all"), [false, false, false, false, true, true]);
    }

    #[test]
    fn probability_comes_from_the_seed() {
        let sites = [site(Op::Write, 0, 1); 2000];
        let drawn = |seed| hits("lost,p=0.1,count=all", seed, &sites);
        assert_eq!(drawn(1), drawn(1));
        assert_ne!(drawn(1), drawn(2));
        let count = drawn(1).iter().flatten().count();
        assert!((140..260).contains(&count), "{count}");
        assert_eq!(hits("lost,p=1,count=all", 1, &sites).iter().flatten().count(), 2000);
    }

    #[test]
    fn what_cannot_happen_waits() {
        let sites = [site(Op::Write, 990, 8), site(Op::Write, 4, 8), site(Op::Write, 20, 1)];
        assert_eq!(hits("misdirect=+8", 0, &sites), [None, Some(0), None]);
        assert_eq!(hits("misdirect=-8,count=all", 0, &sites), [Some(0), None, Some(0)]);
        assert_eq!(hits("torn=1,nth=3,count=all", 0, &sites), [None; 3]);
        assert_eq!(hits("torn=1,count=all", 0, &sites), [Some(0), Some(0), None]);
    }

    #[test]
    fn logical_units_are_told_apart() {
        let other = Site { lun: 3, ..site(Op::Read, 0, 1) };
        assert_eq!(hits("busy,lun=3", 0, &[site(Op::Read, 0, 1), other]), [None, Some(0)]);
    }

    #[test]
    fn a_request_has_one_answer_and_any_number_of_other_faults() {
        let injector = Injector::new(0);
        for spec in ["busy", "no-answer", "lost", "flip=data"] {
            injector.add(spec.parse().unwrap());
        }
        let write = site(Op::Write, 0, 1);
        assert_eq!(injector.draw(&write, Stage::Arrival).len(), 1);
        assert_eq!(injector.draw(&write, Stage::Data).len(), 2);
        assert_eq!(injector.disarm(), ["no-answer".parse().unwrap()]);
    }

    #[test]
    fn what_is_spent_is_gone() {
        let injector = Injector::new(0);
        injector.add("busy".parse().unwrap());
        injector.add("lost".parse().unwrap());
        injector.draw(&site(Op::Read, 0, 1), Stage::Arrival);
        assert_eq!(injector.disarm(), ["lost".parse().unwrap()]);
    }

    #[test]
    fn what_is_disarmed_never_happens() {
        let injector = Injector::new(0);
        injector.add("lost,lba=5,count=all".parse().unwrap());
        assert!(!injector.draw(&site(Op::Write, 5, 1), Stage::Data).is_empty());
        let told: Vec<String> = injector.disarm().iter().map(ToString::to_string).collect();
        assert_eq!(told, ["lost,lba=5,count=all"]);
        assert!(injector.disarm().is_empty());
        assert!(injector.draw(&site(Op::Write, 5, 1), Stage::Data).is_empty());
    }
}

//! Ways to break the protocol. The model must find every one.
//!
//! They are in the model's clients, or in what a client sees of the object store. The real code has no
//! switch.

/// One broken protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Mutant {
    /// A receiver acknowledges when the object store says that there is an object.
    AcknowledgeOnExists,
    /// A receiver acknowledges an object while a lower one is not known to be there.
    AcknowledgeOutOfOrder,
    /// A receiver goes on in an epoch after a put that it gave up.
    GoOnAfterGivingUp,
    /// A receiver puts deliveries of a put that it gave up into a new epoch.
    PutAgainAfterGivingUp,
    /// A receiver acknowledges a put that it gave up.
    AcknowledgeAfterGivingUp,
    /// A store takes a free number for the end, without a seal.
    AbsentIsTheEnd,
    /// A store ends an epoch whatever became of its seal.
    SealUnseen,
    /// A store that finds a free number reads the one after it.
    SkipGaps,
    /// A store seals and does not look at the floors before or after.
    SealWithoutFloors,
    /// A store publishes what it has not committed.
    PublishEarly,
    /// A store publishes what it has not archived.
    PublishUnarchived,
    /// A store does not look at the floors.
    IgnoreFloors,
    /// A prune does not read the cursors again after it published the floor.
    PruneWithOldCursors,
    /// A prune deletes without a decision.
    PruneWithoutDecision,
}

impl Mutant {
    /// Those that random schedules find. The other one needs a rare beginning.
    pub(super) const FREQUENT: [Mutant; 13] = [
        Mutant::AcknowledgeOnExists,
        Mutant::AcknowledgeOutOfOrder,
        Mutant::GoOnAfterGivingUp,
        Mutant::PutAgainAfterGivingUp,
        Mutant::AcknowledgeAfterGivingUp,
        Mutant::AbsentIsTheEnd,
        Mutant::SealUnseen,
        Mutant::SkipGaps,
        Mutant::PublishEarly,
        Mutant::PublishUnarchived,
        Mutant::IgnoreFloors,
        Mutant::PruneWithOldCursors,
        Mutant::PruneWithoutDecision,
    ];
}

//! The server behind `vidimus receive`: a receiver that writes a journal. It opens no store.
//!
//! [`JournalReceiver::start`] binds everything and sends nothing. [`JournalReceiver::run`] serves until
//! shutdown. Then it answers what is there, and puts the last object.

use std::fs::DirBuilder;
use std::net::TcpListener;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::listeners::Listeners;
use super::{StartError, budget, finish, inputs, receiver_limits};
use crate::config::{self, Authorization, Config, Tls};
use crate::console::bare::BareConsole;
use crate::console::guard::Guard;
use crate::journal::Journal;
use crate::journal::cipher::Cipher;
use crate::metrics::{CountingDeliveryObserver, ReceiveMetrics, ReceiverSources};
use crate::net::Shutdown;
use crate::objects::watched::Watched;
use crate::objects::{Bucket, BucketUrl};
use crate::receiver::deliver::Deliverer;
use crate::receiver::fault::Faults;
use crate::receiver::journal::status::{JournalStatus, PutWatch};
use crate::receiver::journal::writer::{Writer, WriterSettings};
use crate::receiver::journal::{JournalSink, Queued};
use crate::receiver::kept::KeptRequests;
use crate::receiver::{DeliveryObserver, Receiver, ReceiverLimits};

/// A delivery waits for memory for at most this part of `put_timeout` in all, before it waits for the
/// journal: Konnect is patient for 15 seconds.
const QUEUE_SHARE: u32 = 2;

/// A call takes at most this part of `put_timeout`, so that there is time for another.
const CALL_SHARE: u32 = 2;

/// A receiver whose listeners are bound.
pub(crate) struct JournalReceiver {
    pub(crate) listeners: Listeners,
    guard: Guard,
    receiver: Arc<Receiver<JournalSink>>,
    writer: Writer<Watched<Bucket, PutWatch>>,
    status: Arc<JournalStatus>,
    metrics: Arc<ReceiveMetrics>,
    /// Closed when the last delivery is settled.
    written: mpsc::Receiver<()>,
    /// The file of the authorization value made on the first run, if an input uses it.
    pub(crate) generated_authorization: Option<PathBuf>,
}

/// Tells whether the task that writes the journal is alive.
pub(crate) struct WriterPulse(mpsc::WeakUnboundedSender<Queued>);

impl WriterPulse {
    /// Waits until the writer answers. It does so at once, also while the object store is gone. Must be
    /// called on a thread that may block.
    pub(crate) fn is_alive(&self) -> bool {
        let (sender, answer) = oneshot::channel();
        let sent = self.0.upgrade().map(|queue| queue.send(Queued::Ping(sender)).is_ok());
        sent == Some(true) && answer.blocking_recv().is_ok()
    }
}

impl JournalReceiver {
    /// Binds everything. The receiver uses `socket` if there is one, and the configured address
    /// otherwise. `url` is the place of the journal.
    pub(crate) async fn start(
        config: &Config,
        url: &BucketUrl,
        socket: Option<TcpListener>,
        observer: Arc<dyn DeliveryObserver>,
    ) -> Result<JournalReceiver, StartError> {
        let cipher = config.journal.key_file.as_deref().map(Cipher::from_file).transpose()?;
        let bucket = Bucket::open(url)?;
        make_data_dir(config)?;
        let listeners = Listeners::bind(config, socket).await?;
        let (inputs, generated_authorization) = inputs(config)?;

        let names: Vec<_> = config.inputs.iter().map(|input| input.name.as_str()).collect();
        let metrics = Arc::new(ReceiveMetrics::new(&names));
        let observer: Arc<dyn DeliveryObserver> =
            Arc::new(CountingDeliveryObserver { metrics: Arc::clone(&metrics), inner: observer });
        let put_timeout = config.journal.put_timeout;
        let status = Arc::new(JournalStatus::default());
        let watch = Arc::new(PutWatch {
            status: Arc::clone(&status),
            observer: Arc::clone(&metrics) as Arc<_>,
        });
        let limit = put_timeout / CALL_SHARE;
        let objects = Watched { objects: bucket, limit, watch: Arc::clone(&watch) };
        let (queue, queued) = mpsc::unbounded_channel();
        let settings = WriterSettings {
            max_wait: config.journal.max_wait,
            max_size: config.journal.max_size,
            put_timeout,
        };
        let journal = Journal::new(Arc::new(objects));
        let writer = Writer::new(journal, cipher, settings, watch, queued);
        let limits = receiver_limits(config);
        let limits = ReceiverLimits {
            queue_timeout: limits.queue_timeout.min(put_timeout / QUEUE_SHARE),
            ..limits
        };
        let sink =
            JournalSink { queue, status: Arc::clone(&status), observer: Arc::clone(&observer) };
        let deliverer = Arc::new(Deliverer {
            sink,
            limits: limits.clone(),
            observer,
            // Faults are set through the control socket of a store, and pages show kept requests.
            faults: Arc::new(Faults::new(false, Vec::new())),
            kept: Arc::new(KeptRequests::new(0)),
        });
        let budget = budget(config);
        let (writing, written) = mpsc::channel(1);
        let receiver = Arc::new(Receiver { inputs, limits, budget, deliverer, writing });
        Ok(JournalReceiver {
            guard: listeners.guard(config.console.clone(), &config.receiver),
            listeners,
            receiver,
            writer,
            status,
            metrics,
            written,
            generated_authorization,
        })
    }

    /// Tells whether the task that writes the journal is alive.
    pub(crate) fn pulse(&self) -> WriterPulse {
        WriterPulse(self.receiver.deliverer.sink.queue.downgrade())
    }

    /// Serves until shutdown. Then it accepts no new connections, answers the requests in progress, and
    /// puts the last object.
    pub(crate) async fn run(self, shutdown: Shutdown) {
        let JournalReceiver { receiver, listeners, metrics, mut written, .. } = self;
        // The first epoch is begun in the background.
        let writer = tokio::spawn(self.writer.run(shutdown.clone()));
        let bare = BareConsole {
            guard: self.guard,
            status: self.status,
            metrics: Arc::clone(&metrics),
            sources: ReceiverSources {
                budget: receiver.budget.clone(),
                listeners: listeners.gauges(),
            },
        };
        let mut ending = shutdown.clone();
        let log = axum::Router::new();
        listeners.serve(&receiver, bare.router(), log, metrics.receiving(), shutdown).await;

        // Deliveries that are not settled hold the senders of both channels.
        drop(receiver);
        finish("some deliveries are not in the journal", written.recv(), &mut ending).await;
        finish("the journal is still written", writer, &mut ending).await;
    }
}

/// Makes the data directory if the certificate or the authorization value is kept there.
fn make_data_dir(config: &Config) -> Result<(), StartError> {
    let own_tls = [&config.receiver.tls, &config.console.tls].contains(&&Tls::SelfSigned);
    let is_generated =
        |input: &config::Input| matches!(input.authorization, Authorization::Generated);
    if !own_tls && !config.inputs.iter().any(is_generated) {
        return Ok(());
    }
    let path = &config.data_dir;
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| StartError::DataDir { path: path.clone(), source })
}

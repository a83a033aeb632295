//! A life on a disk that becomes full and stays so.

use std::sync::Arc;

use super::{FAULTY_STARTS, FULL, HOUR_NS, Life, RETENTION, SECOND_NS, State, TIDY};

impl Life {
    /// A disk is full and stays so. Reads go on, nothing is taken, also after a restart; what the retention drops is the space in which
    /// the store goes on.
    pub(super) async fn live_on_a_full_disk(&mut self) -> Result<(), String> {
        self.take_over().await?;
        for _ in 0..6 {
            for _ in 0..4 {
                self.send();
            }
            self.answers().await?;
            self.flush();
            self.answers().await?;
        }
        tokio::time::sleep(TIDY).await;
        self.note(format_args!("the disk is full"));
        self.bucket.set(FULL);
        let before = self.ledger.lock().acknowledged().len();
        self.send();
        self.answers().await?;
        if self.ledger.lock().acknowledged().len() != before {
            return Err("a full disk takes samples".to_owned());
        }
        self.check_writer().await?;
        let processes = self.processes;
        self.kill_writer().await?;
        // Some are killed while they open it.
        if self.processes - processes > FAULTY_STARTS as usize {
            return Err("a store on a full disk does not open".to_owned());
        }
        self.clock.set_by(RETENTION.as_nanos() as i64 + 48 * HOUR_NS);
        self.latest_ns = self.clock.now_ns();
        tokio::time::sleep(TIDY).await;
        let from = self.ledger.lock().requests.len();
        self.send_recent(3);
        self.answers().await?;
        let ledger = Arc::clone(&self.ledger);
        if ledger.lock().requests[from..].iter().any(|request| request.state != State::Acknowledged) {
            return Err("a full disk does not free itself".to_owned());
        }
        self.check_writer().await?;
        self.kill_writer().await?;
        self.settle().await
    }

    /// So many requests of now.
    fn send_recent(&mut self, count: usize) {
        for _ in 0..count {
            let number = self.ledger.lock().add(&mut self.random, self.clock.now_ns(), SECOND_NS);
            self.begin_append(number, false);
        }
    }
}

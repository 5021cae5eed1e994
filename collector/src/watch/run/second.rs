//! What is looked at once a second: slow gauges, the books of losses, what we cost, and the pulse.

use super::{Watch, WatchEvent, loss_report};
use crate::CollectorError;
use crate::linux::{self, HostMemory, monotonic_ns};
use heaptide_policy::BudgetAction;
use heaptide_protocol::FrameKind;
use heaptide_protocol::control::Pulse;
use heaptide_protocol::gauges::{Gauge, GaugeValue, Gauges};
use heaptide_protocol::section::Section;

/// Running totals a second ago, for rates.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct SecondSample {
    pub(super) at_ns: u64,
    pub(super) allocated_bytes: f64,
    pub(super) samples: u64,
    pub(super) own_cpu_ns: u64,
    pub(super) made_bytes: u64,
}

impl Watch {
    /// Those that are read once a second, or less often.
    fn read_slow_gauges(&mut self, now_ns: u64) {
        let process = &self.target.process;
        let mut values = linux::usage(process).unwrap_or_default();
        if self.rollup_pacer.due(now_ns) {
            values.extend(linux::rollup(process).unwrap_or_default());
            self.rollup_pacer.took(now_ns, monotonic_ns());
        }
        let own = linux::own(self.page_bytes);
        self.cost.rss_bytes = linux::value_of(&own, Gauge::COLLECTOR_RSS_BYTES);
        values.extend(own);
        self.host = HostMemory::read();
        values.extend(self.host.gauges());
        values.extend(self.target.kernel_gauges());
        let more = [
            (
                Gauge::SAMPLING_RATE_BYTES,
                self.control.program_rate(&self.target),
            ),
            (Gauge::SPOOL_BYTES, self.outgoing.waiting_bytes()),
            (Gauge::LIVE_SAMPLES, self.pipeline.live_samples() as u64),
        ];
        values.extend(more.map(|(gauge, value)| GaugeValue { gauge, value }));
        self.waiting.push(Section::Gauges(Gauges {
            timestamp_ns: now_ns,
            values,
        }));
    }

    pub(super) fn every_second(
        &mut self,
        now_ns: u64,
        tell: &mut dyn FnMut(WatchEvent),
    ) -> Result<(), CollectorError> {
        self.read_slow_gauges(now_ns);
        self.follow_rate(tell)?;
        self.target.go.refresh(&self.target.process);
        if let Some(bpf) = &self.target.bpf {
            self.counters = bpf.counters()?;
        }
        self.waiting.push(Section::Loss(loss_report(
            &self.counters,
            self.pipeline.books(),
            now_ns,
        )));
        self.measure(now_ns, tell);
        Ok(())
    }

    /// What we cost and what the fleet page shows.
    fn measure(&mut self, now_ns: u64, tell: &mut dyn FnMut(WatchEvent)) {
        let (allocated_bytes, samples) = self.pipeline.allocated();
        let now = SecondSample {
            at_ns: now_ns,
            allocated_bytes,
            samples,
            own_cpu_ns: linux::own_cpu_ns(),
            made_bytes: self.outgoing.made_bytes(),
        };
        let last = std::mem::replace(&mut self.last_second, now);
        let span_ns = now.at_ns.saturating_sub(last.at_ns).max(1);
        let seconds = span_ns as f64 / 1e9;
        self.cost.cpu_permille = ((now.own_cpu_ns - last.own_cpu_ns) * 1000 / span_ns) as u32;
        // A session that starts over begins to count again.
        let made_bytes = now.made_bytes.saturating_sub(last.made_bytes);
        self.cost.sent_bytes_per_s = (made_bytes as f64 / seconds) as u64;
        match self.budget.observe(&self.control.policy().budget, self.cost) {
            Some(BudgetAction::ShedEvents) => {
                self.pipeline.set_shedding(true);
                let message = format!(
                    "over budget ({} thousandths of a core, {} bytes of memory, {} bytes/s): event rows are left \
                     out",
                    self.cost.cpu_permille, self.cost.rss_bytes, self.cost.sent_bytes_per_s
                );
                tell(WatchEvent::Warning { message });
            }
            Some(BudgetAction::RestoreEvents) => self.pipeline.set_shedding(false),
            None => {}
        }
        let (live_bytes, live_std_error_bytes) = self.pipeline.live_estimate();
        let kernel: Vec<_> = self.counters.iter().map(|(_, counts)| counts).collect();
        let pulse = Pulse {
            timestamp_ns: now_ns,
            rss_bytes: self.rss_bytes,
            live_bytes,
            live_std_error_bytes,
            allocated_bytes_per_s: (now.allocated_bytes - last.allocated_bytes) / seconds,
            samples_per_s: (now.samples - last.samples) as f64 / seconds,
            dropped: kernel.iter().map(|counts| counts.dropped()).sum(),
            seen: kernel.iter().map(|counts| counts.seen).sum(),
            sampling_rate_bytes: self.pipeline.rate_bytes(),
            collector_cpu_permille: self.cost.cpu_permille,
            collector_rss_bytes: self.cost.rss_bytes,
            sent_bytes_per_s: self.cost.sent_bytes_per_s,
            host_available_bytes: self.host.available_bytes,
            host_total_bytes: self.host.total_bytes,
        };
        self.send_control(FrameKind::Pulse, &pulse);
        tell(WatchEvent::Second {
            pulse: Box::new(pulse),
            recorded: self.outgoing.recorded(),
        });
    }
}

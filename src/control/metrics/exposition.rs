//! The text formats of Prometheus (0.0.4) and OpenMetrics (1.0), as far as `/metrics` needs them.
//!
//! They differ in the name by which a counter is described, and in the mark at the end.

use std::fmt::Write;

use super::accepted::MetricsFormat;

/// Text of a scrape, written metric by metric.
#[derive(Debug)]
pub(super) struct Exposition {
    text: String,
    format: MetricsFormat,
}

/// Labels of a sample, in the order in which they are written.
pub(super) type Labels<'l> = [(&'static str, &'l str)];

/// A metric whose samples are being written.
#[derive(Debug)]
pub(super) struct Metric<'t> {
    text: &'t mut String,
    name: &'static str,
    /// Added to the name of each sample.
    suffix: &'static str,
}

/// A histogram's state at the scrape.
#[derive(Debug)]
pub(super) struct Histogram {
    pub sum: f64,
    pub count: u64,
    /// Upper bounds, each with the number of values up to it. The last bound is infinite.
    pub buckets: Vec<(f64, u64)>,
}

impl Exposition {
    /// Begins a text.
    pub(super) fn new(format: MetricsFormat) -> Self {
        Self { text: String::new(), format }
    }

    /// Begins a gauge.
    pub(super) fn gauge(&mut self, name: &'static str, help: &str) -> Metric<'_> {
        self.metric(name, help, "gauge", "")
    }

    /// Begins a counter. The names of its samples end in `_total`.
    pub(super) fn counter(&mut self, name: &'static str, help: &str) -> Metric<'_> {
        self.metric(name, help, "counter", "_total")
    }

    /// Begins a histogram.
    pub(super) fn histogram(&mut self, name: &'static str, help: &str) -> Metric<'_> {
        self.metric(name, help, "histogram", "")
    }

    fn metric(&mut self, name: &'static str, help: &str, kind: &str, suffix: &'static str) -> Metric<'_> {
        // In OpenMetrics the suffix belongs to the samples, before that to the name.
        let described = if self.format == MetricsFormat::Text { suffix } else { "" };
        let text = &mut self.text;
        // Writing to a string cannot fail, here and below.
        let _ = writeln!(text, "# HELP {name}{described} {help}\n# TYPE {name}{described} {kind}");
        Metric { text, name, suffix }
    }

    /// Returns the whole text.
    pub(super) fn finish(mut self) -> String {
        if self.format == MetricsFormat::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }
}

impl Metric<'_> {
    /// Writes a sample.
    pub(super) fn sample(&mut self, labels: &Labels<'_>, value: f64) {
        self.line(self.suffix, labels, &number(value));
    }

    /// Writes the only sample of a metric without labels.
    pub(super) fn only(mut self, value: f64) {
        self.sample(&[], value);
    }

    /// Writes the samples of a histogram.
    pub(super) fn samples(&mut self, labels: &Labels<'_>, histogram: &Histogram) {
        self.line("_sum", labels, &number(histogram.sum));
        self.line("_count", labels, &histogram.count.to_string());
        for (bound, count) in &histogram.buckets {
            let bound = if bound.is_finite() { number(*bound) } else { "+Inf".to_owned() };
            let labels: Vec<_> = std::iter::once(("le", bound.as_str())).chain(labels.iter().copied()).collect();
            self.line("_bucket", &labels, &count.to_string());
        }
    }

    fn line(&mut self, suffix: &str, labels: &Labels<'_>, value: &str) {
        self.text.push_str(self.name);
        self.text.push_str(suffix);
        for (index, (name, label)) in labels.iter().enumerate() {
            let open = if index == 0 { '{' } else { ',' };
            let _ = write!(self.text, "{open}{name}=\"{}\"", escaped(label));
        }
        let close = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.text, "{close} {value}");
    }
}

/// Escapes a label's value.
fn escaped(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// Writes a number with a point, so that it reads as a float.
fn number(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value:.1}") } else { value.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_written_as_openmetrics_has_them() {
        let mut text = Exposition::new(MetricsFormat::OpenMetrics);
        text.gauge("size", "The size.").sample(&[], 1.5);
        let mut counter = text.counter("seen", "Times seen.");
        counter.sample(&[("file", "a\"b\\c\nd"), ("role", "flags")], 3.0);
        counter.sample(&[("file", "é"), ("role", "")], 1e15);
        let histogram =
            Histogram { sum: 0.000_003, count: 2, buckets: vec![(0.0025, 1), (1.0, 1), (f64::INFINITY, 2)] };
        text.histogram("took_seconds", "Time taken.").samples(&[("route", "web")], &histogram);
        assert_eq!(
            text.finish(),
            "# HELP size The size.\n# TYPE size gauge\nsize 1.5\n\
             # HELP seen Times seen.\n# TYPE seen counter\n\
             seen_total{file=\"a\\\"b\\\\c\\nd\",role=\"flags\"} 3.0\n\
             seen_total{file=\"é\",role=\"\"} 1000000000000000.0\n\
             # HELP took_seconds Time taken.\n# TYPE took_seconds histogram\n\
             took_seconds_sum{route=\"web\"} 0.000003\ntook_seconds_count{route=\"web\"} 2\n\
             took_seconds_bucket{le=\"0.0025\",route=\"web\"} 1\n\
             took_seconds_bucket{le=\"1.0\",route=\"web\"} 1\n\
             took_seconds_bucket{le=\"+Inf\",route=\"web\"} 2\n# EOF\n"
        );
    }

    #[test]
    fn the_older_format_describes_a_counter_by_the_name_of_its_samples() {
        let mut text = Exposition::new(MetricsFormat::Text);
        text.counter("seen", "Times seen.").only(3.0);
        text.gauge("size", "The size.").only(1.5);
        assert_eq!(
            text.finish(),
            "# HELP seen_total Times seen.\n# TYPE seen_total counter\nseen_total 3.0\n\
             # HELP size The size.\n# TYPE size gauge\nsize 1.5\n"
        );
    }
}

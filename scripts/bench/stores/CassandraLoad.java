import com.datastax.oss.driver.api.core.ConsistencyLevel;
import com.datastax.oss.driver.api.core.CqlSession;
import com.datastax.oss.driver.api.core.CqlSessionBuilder;
import com.datastax.oss.driver.api.core.DefaultConsistencyLevel;
import com.datastax.oss.driver.api.core.DriverException;
import com.datastax.oss.driver.api.core.config.DefaultDriverOption;
import com.datastax.oss.driver.api.core.config.DriverConfigLoader;
import com.datastax.oss.driver.api.core.cql.PreparedStatement;
import com.datastax.oss.driver.api.core.cql.SimpleStatement;
import com.datastax.oss.driver.api.core.cql.Statement;
import com.datastax.oss.driver.api.core.metadata.Node;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.io.PrintStream;
import java.lang.management.ManagementFactory;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.SplittableRandom;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLongArray;
import java.util.concurrent.atomic.LongAccumulator;
import java.util.concurrent.atomic.LongAdder;
import org.slf4j.LoggerFactory;

/**
 * The client process of Cassandra: it does what each line of stdin asks, and answers with a line.
 *
 * <p>It does what client_main.py does with the load generator of ringmill.client.bench: a closed loop of
 * workers, uniform keys, the same keys and values, the same histogram. The driver is used as its manual
 * says: one session, prepared statements, executeAsync; the next operation of a worker is sent by the
 * callback of its last one.
 *
 * <pre>java -cp CLASSES:'driver/*' CassandraLoad '{"endpoints": "127.0.0.1:9042", "pids": [1], "replicas": 3}'</pre>
 */
public final class CassandraLoad {
    static final ObjectMapper JSON = new ObjectMapper();
    static final String TABLE = "bench.pairs";
    static final Duration PATIENCE = Duration.ofSeconds(60); // with nodes that do not see each other yet
    static final int LOADING_IN_FLIGHT = 64; // the nodes are cold

    private final CqlSession session;
    private final List<Long> pids = new ArrayList<>();

    private CassandraLoad(JsonNode about) throws InterruptedException {
        DriverConfigLoader loader =
                DriverConfigLoader.programmaticBuilder()
                        .withDuration(DefaultDriverOption.REQUEST_TIMEOUT, Duration.ofSeconds(15))
                        .withDuration(DefaultDriverOption.CONNECTION_INIT_QUERY_TIMEOUT, Duration.ofSeconds(10))
                        .build();
        CqlSessionBuilder builder =
                CqlSession.builder().withConfigLoader(loader).withLocalDatacenter("datacenter1");
        for (String endpoint : about.get("endpoints").asText().split(",")) {
            int colon = endpoint.lastIndexOf(':');
            int port = Integer.parseInt(endpoint.substring(colon + 1));
            builder.addContactPoint(new InetSocketAddress(endpoint.substring(0, colon), port));
        }
        about.get("pids").forEach(pid -> pids.add(pid.asLong()));
        session = builder.build();
        createTable(about.get("replicas").asInt());
        awaitRing(about.get("endpoints").asText().split(",").length);
    }

    public static void main(String[] arguments) {
        silenceLogging();
        try {
            serve(arguments);
        } catch (Exception error) {
            error.printStackTrace();
            System.exit(1); // threads of the driver would keep the process alive
        }
    }

    /** Answer lines until stdin ends. */
    private static void serve(String[] arguments) throws Exception {
        CassandraLoad load = new CassandraLoad(JSON.readTree(arguments[0]));
        System.out.println("{\"ready\": true}");
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line; (line = lines.readLine()) != null; ) {
            JsonNode asked = JSON.readTree(line);
            System.out.println(asked.get("do").asText().equals("load") ? load.fill(asked) : load.run(asked));
        }
        load.session.close();
    }

    /** slf4j says on stderr that it finds no logger to write to, which is meant. */
    private static void silenceLogging() {
        PrintStream kept = System.err;
        System.setErr(new PrintStream(OutputStream.nullOutputStream()));
        LoggerFactory.getILoggerFactory();
        System.setErr(kept);
    }

    private void createTable(int replicas) {
        Duration patience = Duration.ofSeconds(30);
        String replication = "{'class': 'SimpleStrategy', 'replication_factor': " + replicas + "}";
        for (String text : List.of(
                "CREATE KEYSPACE IF NOT EXISTS bench WITH replication = " + replication,
                "CREATE TABLE IF NOT EXISTS " + TABLE + " (key blob PRIMARY KEY, value blob)")) {
            session.execute(SimpleStatement.newInstance(text).setTimeout(patience));
        }
    }

    /** Return when each node has coordinated a put that all owners of its key acknowledged. */
    private void awaitRing(int nodes) throws InterruptedException {
        long end = System.nanoTime() + PATIENCE.toNanos();
        Statement<?> put =
                SimpleStatement.newInstance("INSERT INTO " + TABLE + " (key, value) VALUES (0x00, 0x00)")
                        .setConsistencyLevel(ConsistencyLevel.ALL);
        while (true) {
            try {
                List<Node> known = new ArrayList<>(session.getMetadata().getNodes().values());
                if (known.size() == nodes) {
                    for (Node node : known) {
                        session.execute(put.setNode(node));
                    }
                    return;
                }
            } catch (DriverException error) {
                if (System.nanoTime() > end) {
                    throw error;
                }
            }
            if (System.nanoTime() > end) {
                throw new IllegalStateException("the driver does not know " + nodes + " nodes");
            }
            Thread.sleep(200);
        }
    }

    /** Put each key once. */
    private ObjectNode fill(JsonNode asked) throws Exception {
        AtomicInteger next = new AtomicInteger();
        int keys = asked.get("keys").asInt();
        Run run = new Run(session, asked, 7, pids);
        run.begin();
        List<CompletableFuture<Void>> workers = new ArrayList<>();
        for (int number = 0; number < LOADING_IN_FLIGHT; number++) {
            Worker worker = new Worker(run, number);
            workers.add(worker.work(() -> {
                int key = next.getAndIncrement();
                return key < keys ? worker.put(key) : null;
            }));
        }
        CompletableFuture.allOf(workers.toArray(CompletableFuture[]::new)).get();
        run.finish();
        return run.answer();
    }

    /** One run of one case: a warm-up that is not counted, then what is measured; the last ones are awaited. */
    private ObjectNode run(JsonNode asked) throws Exception {
        Run run = new Run(session, asked, asked.get("seed").asLong(), pids);
        double getShare = asked.get("get_share").asDouble();
        int keys = asked.get("keys").asInt();
        List<CompletableFuture<Void>> workers = new ArrayList<>();
        for (int number = 0; number < asked.get("in_flight").asInt(); number++) {
            Worker worker = new Worker(run, number);
            workers.add(worker.work(() -> {
                boolean isGet = worker.drawn.nextDouble() < getShare;
                int key = worker.drawn.nextInt(keys);
                return isGet ? worker.get(key) : worker.put(key);
            }));
        }
        Thread.sleep((long) (asked.get("warm_up_s").asDouble() * 1000));
        run.begin();
        long until = run.begun + (long) (asked.get("seconds").asDouble() * 1e9);
        TimeUnit.NANOSECONDS.sleep(until - System.nanoTime());
        run.finish();
        CompletableFuture.allOf(workers.toArray(CompletableFuture[]::new)).get();
        return run.answer();
    }

    /** What to send next; null when there is no more. */
    interface Series {
        Statement<?> next();
    }

    /** What all workers of a run share, and what they measure together. */
    static final class Run {
        static final int BLOB_BYTES = 1 << 18;

        final CqlSession session;
        final PreparedStatement puts;
        final PreparedStatement gets;
        final byte[] blob;
        final int valueBytes;
        final Histogram latencies = new Histogram();
        final LongAdder operations = new LongAdder();
        final LongAdder missing = new LongAdder();
        final Map<String, LongAdder> errors = new ConcurrentHashMap<>();
        volatile boolean isMeasuring;
        volatile boolean isOver;
        long begun;
        private final List<Long> pids;
        private double seconds;
        private double clientS;
        private double nodesS;

        Run(CqlSession session, JsonNode asked, long seed, List<Long> pids) {
            this.session = session;
            this.pids = pids;
            ConsistencyLevel w = level(asked, "w");
            ConsistencyLevel r = level(asked, "r");
            puts = session.prepare(
                    SimpleStatement.newInstance("INSERT INTO " + TABLE + " (key, value) VALUES (?, ?)")
                            .setConsistencyLevel(w));
            gets = session.prepare(
                    SimpleStatement.newInstance("SELECT value FROM " + TABLE + " WHERE key = ?")
                            .setConsistencyLevel(r));
            valueBytes = asked.get("value_bytes").asInt();
            blob = new byte[BLOB_BYTES + valueBytes];
            new Random(seed).nextBytes(blob);
        }

        private static ConsistencyLevel level(JsonNode asked, String name) {
            return DefaultConsistencyLevel.valueOf(asked.get(name).asText());
        }

        void begin() {
            clientS = ownS();
            nodesS = nodesS();
            begun = System.nanoTime();
            isMeasuring = true;
        }

        void finish() {
            isMeasuring = false;
            isOver = true;
            clientS = ownS() - clientS;
            nodesS = nodesS() - nodesS;
            seconds = (System.nanoTime() - begun) / 1e9;
        }

        ObjectNode answer() {
            ObjectNode answer = JSON.createObjectNode();
            answer.put("seconds", seconds).put("operations", operations.sum()).put("missing", missing.sum());
            answer.put("client_s", clientS).put("nodes_s", nodesS).put("frames", 0).put("operations_sent", 0);
            ObjectNode failed = answer.putObject("errors");
            errors.forEach((name, count) -> failed.put(name, count.sum()));
            latencies.write(answer.putObject("latency"));
            new Histogram().write(answer.putObject("lateness"));
            return answer;
        }

        /** Processor time of this process with all threads of its virtual machine. */
        private static double ownS() {
            return ((com.sun.management.OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean())
                            .getProcessCpuTime()
                    / 1e9;
        }

        private double nodesS() {
            return pids.stream()
                            .flatMap(pid -> ProcessHandle.of(pid).stream())
                            .mapToLong(node -> node.info().totalCpuDuration().orElse(Duration.ZERO).toNanos())
                            .sum()
                    / 1e9;
        }
    }

    /** One operation at a time. */
    static final class Worker {
        static final int STEP = 4099; // a prime, as in Values of the other stores' load

        final SplittableRandom drawn;
        private final Run run;
        private final CompletableFuture<Void> ended = new CompletableFuture<>();
        private int at;

        Worker(Run run, int number) {
            this.run = run;
            drawn = new SplittableRandom(run.blob[number] * 1000L + number);
            at = number * STEP % Run.BLOB_BYTES;
        }

        /** Work until the run is over or the series ends. */
        CompletableFuture<Void> work(Series series) {
            Statement<?> operation = run.isOver ? null : series.next();
            if (operation == null) {
                ended.complete(null);
                return ended;
            }
            boolean isCounted = run.isMeasuring;
            long sent = System.nanoTime();
            run.session.executeAsync(operation).whenComplete((rows, error) -> {
                if (error != null) {
                    if (isCounted) {
                        String name = error.getClass().getSimpleName();
                        run.errors.computeIfAbsent(name, key -> new LongAdder()).increment();
                    }
                    // A store that is gone is not called in a busy loop.
                    CompletableFuture.delayedExecutor(5, TimeUnit.MILLISECONDS).execute(() -> work(series));
                    return;
                }
                if (run.isMeasuring) { // also one that was sent before: as many are under way at the end
                    run.operations.increment();
                }
                if (isCounted) {
                    run.latencies.record(System.nanoTime() - sent);
                    if (rows.getColumnDefinitions().size() > 0 && rows.one() == null) {
                        run.missing.increment();
                    }
                }
                work(series);
            });
            return ended;
        }

        Statement<?> put(int number) {
            at = (at + STEP) % Run.BLOB_BYTES;
            return run.puts.bind(key(number), ByteBuffer.wrap(run.blob, at, run.valueBytes).slice());
        }

        Statement<?> get(int number) {
            return run.gets.bind(key(number));
        }

        /** "key:" and 12 digits. */
        private static ByteBuffer key(int number) {
            byte[] text = "key:000000000000".getBytes(StandardCharsets.ISO_8859_1);
            for (int place = text.length - 1; number > 0; place--, number /= 10) {
                text[place] = (byte) ('0' + number % 10);
            }
            return ByteBuffer.wrap(text);
        }
    }

    /** As ringmill.cluster.meters.histogram: log-linear, the highest 7 bits of the nanoseconds choose. */
    static final class Histogram {
        static final int BITS = 7;
        static final int HALF = 1 << BITS;
        static final long LONGEST_NS = (1L << (BITS + 39)) - 1;

        private final AtomicLongArray counts = new AtomicLongArray(HALF * 40);
        private final LongAccumulator most = new LongAccumulator(Long::max, 0);

        void record(long latencyNs) {
            long value = Math.min(Math.max(latencyNs, 0), LONGEST_NS);
            int shift = Math.max(0, 64 - Long.numberOfLeadingZeros(value) - BITS - 1);
            counts.incrementAndGet(shift * HALF + (int) (value >> shift));
            most.accumulate(value);
        }

        void write(ObjectNode into) {
            long count = 0;
            ObjectNode buckets = into.putObject("buckets_ns");
            for (int bucket = 0; bucket < counts.length(); bucket++) {
                if (counts.get(bucket) > 0) {
                    int shift = Math.max(0, bucket / HALF - 1);
                    long highest = ((bucket - (long) shift * HALF + 1) << shift) - 1;
                    buckets.put(Long.toString(highest), counts.get(bucket));
                    count += counts.get(bucket);
                }
            }
            into.put("count", count).put("max_ns", most.get());
        }
    }
}

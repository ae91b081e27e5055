import java.time.Duration;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.serialization.SimpleStringSchema;
import org.apache.flink.configuration.CheckpointingOptions;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.configuration.RestartStrategyOptions;
import org.apache.flink.connector.base.DeliveryGuarantee;
import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema;
import org.apache.flink.connector.kafka.sink.KafkaSink;
import org.apache.flink.connector.kafka.sink.TransactionNamingStrategy;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;

/**
 * Copies topic "numbers" to topic "copies" exactly once: a transaction is committed with each checkpoint. The first time it meets one of every thousand records it
 * fails, so that it resumes from a checkpoint and commits what an earlier process had prepared. Arguments: bootstrap servers, directory of the
 * checkpoints, INCREMENTING or POOLING.
 */
public final class Copy {
    private static final Set<String> FAILED = ConcurrentHashMap.newKeySet();

    public static void main(String[] args) throws Exception {
        var settings = new Configuration();
        settings.set(RestartStrategyOptions.RESTART_STRATEGY, "fixed-delay");
        settings.set(RestartStrategyOptions.RESTART_STRATEGY_FIXED_DELAY_ATTEMPTS, Integer.MAX_VALUE);
        settings.set(RestartStrategyOptions.RESTART_STRATEGY_FIXED_DELAY_DELAY, Duration.ofMillis(500));
        settings.set(CheckpointingOptions.CHECKPOINTS_DIRECTORY, "file://" + args[1]);
        var flink = StreamExecutionEnvironment.getExecutionEnvironment(settings);
        flink.setParallelism(2);
        flink.enableCheckpointing(1000);
        var numbers = KafkaSource.<String>builder()
            .setBootstrapServers(args[0]).setTopics("numbers").setGroupId("flink-copy")
            .setStartingOffsets(OffsetsInitializer.earliest()).setValueOnlyDeserializer(new SimpleStringSchema()).build();
        var copies = KafkaSink.<String>builder()
            .setBootstrapServers(args[0])
            .setDeliveryGuarantee(DeliveryGuarantee.EXACTLY_ONCE)
            .setTransactionalIdPrefix("copy")
            .setTransactionNamingStrategy(TransactionNamingStrategy.valueOf(args[2]))
            .setProperty("transaction.timeout.ms", "600000")
            .setRecordSerializer(KafkaRecordSerializationSchema.<String>builder()
                .setTopic("copies").setValueSerializationSchema(new SimpleStringSchema()).build())
            .build();
        flink.fromSource(numbers, WatermarkStrategy.noWatermarks(), "numbers").map(number -> {
            if (number.endsWith("999") && FAILED.add(number)) {
                System.out.println("a failure on purpose");
                throw new IllegalStateException("a failure on purpose");
            }
            return number;
        }).sinkTo(copies);
        flink.execute("copy");
    }
}

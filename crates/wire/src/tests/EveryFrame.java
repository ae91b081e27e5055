import com.fasterxml.jackson.databind.JsonNode;
import java.nio.ByteBuffer;
import java.util.HexFormat;
import java.util.Map;
import java.util.TreeMap;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.message.ApiMessageType;
import org.apache.kafka.common.protocol.ApiKeys;
import org.apache.kafka.common.protocol.ByteBufferAccessor;
import org.apache.kafka.common.protocol.Message;
import org.apache.kafka.common.protocol.MessageUtil;
import org.apache.kafka.common.protocol.Readable;
import org.apache.kafka.common.protocol.types.ArrayOf;
import org.apache.kafka.common.protocol.types.BoundField;
import org.apache.kafka.common.protocol.types.CompactArrayOf;
import org.apache.kafka.common.protocol.types.Field;
import org.apache.kafka.common.protocol.types.Schema;
import org.apache.kafka.common.protocol.types.Struct;
import org.apache.kafka.common.protocol.types.TaggedFields;
import org.apache.kafka.common.protocol.types.Type;
import org.apache.kafka.common.record.internal.MemoryRecords;

/**
 * One instance of every message that a broker's listener knows, in every version, as Kafka's own Java client writes it:
 * prints `MESSAGE VERSION HEX JSON`. The values come from the client's schemas: every field has one, lists have one or two
 * elements, numbers go up, so that no field can pass for another.
 *
 *     java -cp KAFKA-CLIENTS-AND-JACKSON EveryFrame.java > java_every.txt
 */
public class EveryFrame {
    private static int next;

    public static void main(String[] arguments) throws Exception {
        System.out.println("# One instance of every message in every version, written by Kafka's Java client. EveryFrame.java makes this file.");
        for (ApiKeys key : ApiKeys.apisForListener(ApiMessageType.ListenerType.BROKER)) {
            print(key.messageType.newRequest());
            print(key.messageType.newResponse());
        }
    }

    private static void print(Message example) throws Exception {
        Class<?> data = example.getClass();
        String name = data.getSimpleName().replaceAll("Data$", "");
        Schema[] schemas = (Schema[]) data.getField("SCHEMAS").get(null);
        for (short version = example.lowestSupportedVersion(); version <= example.highestSupportedVersion(); version++) {
            next = 1;
            Struct values = struct(schemas[version]);
            ByteBuffer drawn = ByteBuffer.allocate(schemas[version].sizeOf(values));
            schemas[version].write(drawn, values);
            drawn.flip();
            Message message = (Message) data.getConstructor(Readable.class, short.class).newInstance(new ByteBufferAccessor(drawn), version);
            ByteBuffer written = MessageUtil.toByteBufferAccessor(message, version).buffer();
            byte[] body = new byte[written.remaining()];
            written.get(body);
            JsonNode told = (JsonNode) Class.forName(data.getName() + "JsonConverter").getMethod("write", data, short.class).invoke(null, message, version);
            // An empty body still is a word.
            String hex = body.length == 0 ? "-" : HexFormat.of().formatHex(body);
            System.out.println(name + " " + version + " " + hex + " " + told);
        }
    }

    private static Struct struct(Schema schema) {
        Struct struct = new Struct(schema);
        for (BoundField field : schema.fields()) {
            struct.set(field, value(field.def.type));
        }
        return struct;
    }

    private static Object value(Type type) {
        if (type instanceof Schema) {
            return struct((Schema) type);
        }
        if (type instanceof ArrayOf || type instanceof CompactArrayOf) {
            Type of = type.arrayElementType().get();
            int count = of instanceof Schema ? 1 : 2;
            Object[] elements = new Object[count];
            for (int at = 0; at < count; at++) {
                elements[at] = value(of);
            }
            return elements;
        }
        if (type instanceof TaggedFields) {
            TreeMap<Integer, Object> tagged = new TreeMap<>();
            for (Map.Entry<Integer, Field> field : ((TaggedFields) type).fields().entrySet()) {
                tagged.put(field.getKey(), value(field.getValue().type));
            }
            return tagged;
        }
        if (type.toString().contains("RECORDS")) {
            return type.isNullable() ? null : MemoryRecords.EMPTY;
        }
        return plain(type.toString());
    }

    private static Object plain(String type) {
        int number = next++;
        if (type.contains("BYTES")) {
            return ByteBuffer.allocate(0);
        }
        if (type.contains("STRING")) {
            return "s" + number;
        }
        switch (type) {
            case "BOOLEAN": return true;
            case "INT8": return (byte) (number % 128);
            case "INT16": return (short) number;
            case "UINT16": return number;
            case "INT32": return 1000 + number;
            case "UINT32": return 1000L + number;
            case "INT64": return 1_000_000L + number;
            case "FLOAT64": return 0.5 + number;
            case "UUID": return new Uuid(number, 7);
            default: throw new IllegalArgumentException(type);
        }
    }
}

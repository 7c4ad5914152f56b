package kerolox.compat;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.lang.reflect.Field;
import java.lang.reflect.Modifier;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.regex.Pattern;
import org.apache.rocketmq.common.MQVersion;
import org.junit.jupiter.api.Test;

/** The table of configuration keys against the fields of the classes in the jars. */
class ConfigKeysTest {
    private static final Map<Character, String> CLASSES = Map.of(
            'B', "org.apache.rocketmq.common.BrokerConfig",
            'S', "org.apache.rocketmq.store.config.MessageStoreConfig",
            'N', "org.apache.rocketmq.remoting.netty.NettyServerConfig",
            'C', "org.apache.rocketmq.remoting.netty.NettyClientConfig",
            'R', "org.apache.rocketmq.common.namesrv.NamesrvConfig",
            'A', "org.apache.rocketmq.auth.config.AuthConfig");

    private record Key(String classes, String versions, String apacheDefault) {}

    @Test
    void everyFieldOfTheConfigurationIsAKnownKey() throws Exception {
        String version = MQVersion.getVersionDesc(MQVersion.CURRENT_VERSION).startsWith("V4") ? "4" : "5";
        Map<String, Key> known = knownKeys();
        Map<String, TreeSet<Character>> found = new TreeMap<>();
        for (var entry : CLASSES.entrySet()) {
            Class<?> type;
            try {
                type = Class.forName(entry.getValue());
            } catch (ClassNotFoundException e) {
                assertEquals('A', entry.getKey(), "only 4.9.8 has no AuthConfig");
                assertEquals("4", version);
                continue;
            }
            Object defaults = type.getDeclaredConstructor().newInstance();
            for (Class<?> c = type; c != Object.class; c = c.getSuperclass()) {
                for (Field field : c.getDeclaredFields()) {
                    if (Modifier.isStatic(field.getModifiers())) {
                        continue;
                    }
                    String name = field.getName();
                    Key key = known.get(name);
                    assertTrue(key != null && key.versions.contains(version)
                            && key.classes.indexOf(entry.getKey()) >= 0,
                            name + " of " + type.getSimpleName() + " is not in the table: " + key);
                    found.computeIfAbsent(name, n -> new TreeSet<>()).add(entry.getKey());
                    // The table has the newer version's.
                    boolean told = version.equals("5") || !key.versions.contains("5");
                    if (told && key.apacheDefault.matches("-?\\d+|true|false")
                            && field.getType().isPrimitive()) {
                        field.setAccessible(true);
                        String value = String.valueOf(field.get(defaults));
                        // What a start of Apache's broker or name server sets.
                        boolean fixedLater = name.equals("listenPort") || name.equals("brokerId");
                        assertTrue(value.equals(key.apacheDefault) || fixedLater,
                                name + " is " + value + ", not " + key.apacheDefault);
                    }
                }
            }
        }
        for (var entry : known.entrySet()) {
            Key key = entry.getValue();
            if (!key.classes.isEmpty() && key.versions.contains(version)) {
                assertTrue(found.containsKey(entry.getKey()), entry.getKey() + " is no field");
            }
        }
        assertTrue(found.size() > 150, "only " + found.size() + " fields");
    }

    private static Map<String, Key> knownKeys() throws Exception {
        Process process = new ProcessBuilder(Broker.binary(), "config", "keys", "--json").start();
        String json = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        assertEquals(0, process.waitFor());
        Map<String, Key> known = new TreeMap<>();
        for (String object : json.split("\\},\\{")) {
            known.put(text(object, "key"),
                    new Key(text(object, "classes"), text(object, "versions"), text(object, "apacheDefault")));
        }
        assertTrue(known.size() > 500, "only " + known.size() + " keys");
        return known;
    }

    private static String text(String object, String name) {
        var field = Pattern.compile("\"" + name + "\":\"([^\"]*)\"").matcher(object);
        assertTrue(field.find(), name + " is not in " + object);
        return field.group(1);
    }
}
